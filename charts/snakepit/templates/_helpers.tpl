{{- define "snakepit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The longest suffix is -control-plane-<hash>-<random>; 40 keeps every name and label value within 63. */}}
{{- define "snakepit.fullname" -}}
{{- $name := include "snakepit.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "snakepit.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Of (dict "root" $ "component" "operator"). */}}
{{- define "snakepit.selectorLabels" -}}
app.kubernetes.io/name: {{ include "snakepit.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "snakepit.labels" -}}
{{ include "snakepit.selectorLabels" . }}
app.kubernetes.io/part-of: snakepit
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "snakepit.chart" .root }}
{{- end -}}

{{/* Of (dict "root" $ "component" "control-plane" "image" .Values.controlPlane.image). */}}
{{- define "snakepit.image" -}}
{{- $all := .root.Values.image -}}
{{- $registry := coalesce $all.registry .root.Values.global.imageRegistry -}}
{{- $prefix := $all.repository -}}
{{- if $registry -}}{{- $prefix = printf "%s/%s" $registry $all.repository -}}{{- end -}}
{{- $name := default (printf "%s/%s" $prefix .component) .image.repository -}}
{{- printf "%s:%s" $name (coalesce .image.tag $all.tag .root.Chart.AppVersion) -}}
{{- end -}}

{{/* The bundled Redis comes from Docker Hub unless something else is said. */}}
{{- define "snakepit.redisImage" -}}
{{- $repository := .Values.redis.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- if hasPrefix "docker.io/" $repository -}}{{- $repository = printf "%s/%s" . (trimPrefix "docker.io/" $repository) -}}{{- end -}}
{{- end -}}
{{- printf "%s:%s" $repository .Values.redis.image.tag -}}
{{- end -}}

{{/* Names of Secrets: a parent chart's, which may be names or objects with a name, and then our own: (dict "root" $ "own" <a list>). As JSON. */}}
{{- define "snakepit.pullSecrets" -}}
{{- $names := list -}}
{{- range concat (default list .root.Values.global.imagePullSecrets) .own -}}
{{- if kindIs "map" . -}}{{- $names = append $names .name -}}{{- else -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- uniq $names | toJson -}}
{{- end -}}

{{- define "snakepit.pullPolicy" -}}
{{- default .root.Values.image.pullPolicy .image.pullPolicy -}}
{{- end -}}

{{/* Host and port that agents and the operator dial: every replica's own address, ready or not. */}}
{{- define "snakepit.controlPlaneAddress" -}}
dns:///{{ include "snakepit.fullname" . }}-control-plane.{{ .Release.Namespace }}:7800
{{- end -}}

{{/* For whom the operator's token is; those of a pool's agents are for <this>/<namespace>/<pool>. */}}
{{- define "snakepit.audience" -}}
{{ include "snakepit.fullname" . }}.{{ .Release.Namespace }}
{{- end -}}

{{- define "snakepit.redisBundled" -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret are both set: keep the one that says where your Redis is" -}}
{{- end -}}
{{- if not (or .Values.redis.url .Values.redis.existingSecret) -}}true{{- end -}}
{{- end -}}

{{- define "snakepit.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "snakepit.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What a person may set for every pod: (dict "root" $ "of" .Values.operator). */}}
{{- define "snakepit.placement" -}}
{{- with include "snakepit.pullSecrets" (dict "root" .root "own" .root.Values.imagePullSecrets) | fromJsonArray }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What a container's environment is made of: (dict "own" <a list, as YAML> "given" <a list>). A name has one entry, the last: the API server refuses two. */}}
{{- define "snakepit.env" -}}
{{- $kept := list -}}
{{- $seen := dict -}}
{{- range reverse (concat (fromYamlArray .own) .given) -}}
{{- if not (hasKey $seen .name) -}}
{{- $kept = prepend $kept . -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}
{{- toYaml $kept -}}
{{- end -}}
