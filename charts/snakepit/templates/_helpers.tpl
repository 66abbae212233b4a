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
{{- $own := include "snakepit.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "snakepit" -}}
{{- $_ := set $own "app.kubernetes.io/version" (.root.Chart.AppVersion | toString) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (include "snakepit.chart" .root) -}}
{{- merge $own .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* A component's own values, and of `pods` what it doesn't say itself: (dict "root" $ "of" .Values.operator). As YAML. */}}
{{- define "snakepit.settings" -}}
{{- $all := deepCopy .of -}}
{{- range $name, $value := .root.Values.pods -}}
{{- if not (hasKey $all $name) -}}{{- $_ := set $all $name $value -}}{{- end -}}
{{- end -}}
{{- /* Of Kubernetes' own types, so they may be null. */ -}}
{{- range list "extraEnv" "tolerations" -}}
{{- if not (hasKey $all .) -}}{{- $_ := set $all . list -}}{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* The prefix of our own images. */}}
{{- define "snakepit.imagePrefix" -}}
{{- $registry := coalesce .Values.image.registry .Values.global.imageRegistry -}}
{{- if $registry -}}{{- $registry -}}/{{- end -}}{{- .Values.image.repository -}}
{{- end -}}

{{/* Of (dict "root" $ "component" "control-plane" "image" .Values.controlPlane.image). */}}
{{- define "snakepit.image" -}}
{{- $name := default (printf "%s/%s" (include "snakepit.imagePrefix" .root) .component) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $name .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The bundled Redis comes from Docker Hub unless something else is said. */}}
{{- define "snakepit.redisImage" -}}
{{- $repository := .Values.redis.image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{- if hasPrefix "docker.io/" $repository -}}{{- $repository = printf "%s/%s" . (trimPrefix "docker.io/" $repository) -}}{{- end -}}
{{- end -}}
{{- include "snakepit.image" (dict "root" . "component" "redis" "image" (set (deepCopy .Values.redis.image) "repository" $repository)) -}}
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

{{/* A namespace whose pools are looked after, for examples and for the test. */}}
{{- define "snakepit.poolNamespace" -}}
{{- first (append .Values.watchNamespaces .Release.Namespace) -}}
{{- end -}}

{{/* For whom the operator's token is; those of a pool's agents are for <this>/<namespace>/<pool>. */}}
{{- define "snakepit.audience" -}}
{{ include "snakepit.fullname" . }}.{{ .Release.Namespace }}
{{- end -}}

{{/* The Secret with the control plane's certificate; empty: it has none. */}}
{{- define "snakepit.tlsSecret" -}}
{{- if .Values.tls.enabled -}}
{{- if and .Values.tls.secretName .Values.tls.issuerRef -}}
{{- fail "tls.secretName and tls.issuerRef are both set: keep the one that says where the certificate comes from" -}}
{{- end -}}
{{- if and .Values.tls.issuerRef (not .Values.tls.issuerRef.name) -}}
{{- fail "tls.issuerRef.name is missing: name the Issuer that signs" -}}
{{- end -}}
{{- default (printf "%s-tls" (include "snakepit.fullname" .)) .Values.tls.secretName -}}
{{- end -}}
{{- end -}}

{{/* What Services are dialled by: (dict "root" $ "services" <a list> "more" <a list>). As JSON. */}}
{{- define "snakepit.namesOf" -}}
{{- $names := list -}}
{{- range $service := .services -}}
{{- range $rest := list "" ".%s" ".%s.svc" ".%s.svc.cluster.local" -}}
{{- $names = append $names (printf "%s%s" $service (ternary (printf $rest $.root.Release.Namespace) "" (ne $rest ""))) -}}
{{- end -}}
{{- end -}}
{{- uniq (concat $names .more) | toJson -}}
{{- end -}}

{{/* What the control plane is dialled by. As JSON. */}}
{{- define "snakepit.tlsNames" -}}
{{- $full := include "snakepit.fullname" . -}}
{{- include "snakepit.namesOf" (dict "root" . "services" (list $full (printf "%s-control-plane" $full)) "more" .Values.tls.dnsNames) -}}
{{- end -}}

{{/* What gateways are dialled by. As JSON. */}}
{{- define "snakepit.gatewayNames" -}}
{{- include "snakepit.namesOf" (dict "root" . "services" (list (printf "%s-gateway" (include "snakepit.fullname" .))) "more" .Values.gateway.tls.dnsNames) -}}
{{- end -}}

{{/* The Secret with the gateways' certificate, which is another than the control plane's; empty: they have none. */}}
{{- define "snakepit.gatewaySecret" -}}
{{- if and .Values.gateway.enabled .Values.gateway.tls.enabled .Values.tls.enabled -}}
{{- if and .Values.tls.secretName (not .Values.gateway.tls.secretName) -}}
{{- fail "gateway.tls.secretName is missing: beside tls.secretName nobody makes certificates. Name a Secret with tls.crt and tls.key, or set gateway.tls.enabled=false" -}}
{{- end -}}
{{- default (printf "%s-gateway-tls" (include "snakepit.fullname" .)) .Values.gateway.tls.secretName -}}
{{- end -}}
{{- end -}}

{{/* The same where we make it, or have it made. */}}
{{- define "snakepit.gatewayCertificate" -}}
{{- with include "snakepit.gatewaySecret" . -}}
{{- if not $.Values.gateway.tls.secretName -}}{{- . -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What a pod of ours that dials the control plane has at /var/run/secrets/snakepit: a volume's `projected`; nothing where it needs nothing. */}}
{{- define "snakepit.callerSources" -}}
{{- if ne .Values.authentication "off" }}
- serviceAccountToken: {path: token, audience: {{ include "snakepit.audience" . | quote }}, expirationSeconds: 3600}
{{- end }}
{{- if .Values.tls.enabled }}
- configMap: {name: {{ include "snakepit.fullname" . }}-ca}
{{- end }}
{{- end -}}

{{/* Values of the components that scale without anybody's help, by name. As JSON. */}}
{{- define "snakepit.scaled" -}}
{{- $found := dict "control-plane" .Values.controlPlane -}}
{{- if .Values.gateway.enabled -}}{{- $_ := set $found "gateway" .Values.gateway -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "snakepit.redisBundled" -}}
{{- if and .Values.redis.url .Values.redis.existingSecret -}}
{{- fail "redis.url and redis.existingSecret are both set: keep the one that says where your Redis is" -}}
{{- end -}}
{{- if not (or .Values.redis.url .Values.redis.existingSecret) -}}true{{- end -}}
{{- end -}}

{{/* The Secret with the bundled Redis' password. */}}
{{- define "snakepit.redisAuth" -}}
{{- if and .Values.redis.password .Values.redis.passwordSecret -}}
{{- fail "redis.password and redis.passwordSecret are both set: keep the one that says what the bundled Redis' password is" -}}
{{- end -}}
{{- if eq .Values.redis.passwordSecret (printf "%s-redis" (include "snakepit.fullname" .)) -}}
{{- fail (printf "redis.passwordSecret=%s is the chart's own Secret, which helm would delete: make one of another name" .Values.redis.passwordSecret) -}}
{{- end -}}
{{- default (printf "%s-redis" (include "snakepit.fullname" .)) .Values.redis.passwordSecret -}}
{{- end -}}

{{/* Who a component is to the API server: (dict "root" $ "component" "operator" "of" .Values.operator.serviceAccount). */}}
{{- define "snakepit.serviceAccount" -}}
{{- default (ternary (printf "%s-%s" (include "snakepit.fullname" .root) .component) "default" .of.create) .of.name -}}
{{- end -}}

{{- define "snakepit.serviceAccountObject" -}}
{{- if .of.create }}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "snakepit.serviceAccount" . }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "snakepit.labels" . | nindent 4 }}
  {{- with .of.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end -}}

{{/* The metadata of a Deployment or a StatefulSet, and then of its pods; each of (dict "root" $ "component" … "of" <settings>). */}}
{{- define "snakepit.workloadMetadata" -}}
name: {{ include "snakepit.fullname" .root }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels: {{- merge (include "snakepit.labels" . | fromYaml) .of.labels | toYaml | nindent 2 }}
{{- with .of.annotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "snakepit.podMetadata" -}}
labels: {{- merge (include "snakepit.labels" . | fromYaml) .of.podLabels | toYaml | nindent 2 }}
{{- with .of.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The Service by which a component is scraped: (dict "component" <component> "name" <the end of its name>). */}}
{{- define "snakepit.metricsService" -}}
{{- $root := .component.root -}}
# For who scrapes metrics: every replica's own address, whether it is ready, and whoever leads.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "snakepit.fullname" $root }}-{{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "snakepit.labels" .component | nindent 4 }}
    snakepit.dev/scrape: "true"
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {{- include "snakepit.selectorLabels" .component | nindent 4 }}
  ports:
    - {name: metrics, port: 7801, targetPort: metrics}
{{- end -}}

{{/* Adds what a Prometheus without its operator finds pods by, where it is wanted: (dict "root" $ "of" <settings>). Nothing is written. */}}
{{- define "snakepit.scrapedByAnnotation" -}}
{{- if .root.Values.metrics.annotations -}}
{{- $found := dict "prometheus.io/scrape" "true" "prometheus.io/port" "7801" "prometheus.io/path" "/metrics" -}}
{{- $_ := set .of "podAnnotations" (merge .of.podAnnotations $found) -}}
{{- end -}}
{{- end -}}

{{/* Those of the settings, and for how long a node may be silent, where they don't say it. */}}
{{- define "snakepit.tolerations" -}}
{{- $all := .tolerations -}}
{{- range $key := list "node.kubernetes.io/not-ready" "node.kubernetes.io/unreachable" -}}
{{- $own := dict "key" $key "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" $.unreachableTolerationSeconds -}}
{{- $said := false -}}
{{- range $.tolerations -}}{{- if eq (default $key .key) $key -}}{{- $said = true -}}{{- end -}}{{- end -}}
{{- if not $said -}}{{- $all = append $all $own -}}{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* What may be set for every pod, of (dict "root" $ "component" … "of" <settings>). */}}
{{- define "snakepit.pod" -}}
{{- $selector := dict "matchLabels" (include "snakepit.selectorLabels" . | fromYaml) -}}
{{- /* A Service called snakepit would put variables SNAKEPIT_… into every pod. */ -}}
enableServiceLinks: false
{{- with include "snakepit.pullSecrets" (dict "root" .root "own" .root.Values.imagePullSecrets) | fromJsonArray }}
imagePullSecrets: {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .of.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .of.topologySpreadConstraints }}
topologySpreadConstraints: {{- range . }}
  - {{- merge (deepCopy .) (dict "labelSelector" $selector) | toYaml | nindent 4 }}
  {{- end }}
{{- end }}
{{- range $name := list "affinity" "dnsConfig" "dnsPolicy" "hostAliases" "nodeSelector" "priorityClassName" }}
{{- with index $.of $name }}
{{ dict $name . | toYaml }}
{{- end }}
{{- end }}
tolerations: {{- include "snakepit.tolerations" .of | nindent 2 }}
{{- end -}}

{{/* Whether the bundled Redis has a volume: "true" or nothing. What its StatefulSet began with can't be changed, so that stays. */}}
{{- define "snakepit.redisPersistent" -}}
{{- $name := printf "%s-redis" (include "snakepit.fullname" .) -}}
{{- $there := lookup "apps/v1" "StatefulSet" .Release.Namespace $name -}}
{{- $has := not (empty (dig "spec" "volumeClaimTemplates" list ($there | default dict))) -}}
{{- $wanted := eq (toString .Values.redis.persistence.enabled) "true" -}}
{{- if eq (toString .Values.redis.persistence.enabled) "auto" -}}
{{- $wanted = not (empty .Values.redis.persistence.storageClassName) -}}
{{- if $there -}}
{{- $wanted = $has -}}
{{- else if not (or $wanted .Values.watchNamespaces) -}}
{{- range dig "items" list (lookup "storage.k8s.io/v1" "StorageClass" "" "") -}}
{{- if eq (dig "annotations" "storageclass.kubernetes.io/is-default-class" "" .metadata) "true" -}}{{- $wanted = true -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $there (ne $wanted $has) -}}
{{- fail (printf "redis.persistence.enabled=%t: the StatefulSet %s began %s a volume, which can't be changed. Take it away first: kubectl -n %s delete statefulset %s. Its sessions are lost." $wanted $name (ternary "with" "without" $has) .Release.Namespace $name) -}}
{{- end -}}
{{- $parallel := eq (dig "spec" "podManagementPolicy" "" ($there | default dict)) "Parallel" -}}
{{- if and $there (ne $parallel (not (empty (include "snakepit.redisReplicated" .)))) -}}
{{- $delete := printf "kubectl -n %s delete statefulset %s" .Release.Namespace $name -}}
{{- $how := printf "without its pods, which go on: %s --cascade=orphan. Sessions stay" $delete -}}
{{- if $parallel -}}{{- $how = printf "with its pods: %s. Sessions stay if it has volumes" $delete -}}{{- end -}}
{{- fail (printf "redis.replicas=%d: the StatefulSet %s was made for another number, which can't be changed. Take it away %s." (int .Values.redis.replicas) $name $how) -}}
{{- end -}}
{{- if $wanted -}}true{{- end -}}
{{- end -}}

{{/* Whether the bundled Redis is three servers with Sentinels: "true" or nothing. */}}
{{- define "snakepit.redisReplicated" -}}
{{- if and (include "snakepit.redisBundled" .) (gt (int .Values.redis.replicas) 1) -}}
{{- if not (hasSuffix "-server" (last .Values.redis.command)) -}}
{{- fail (printf "redis.replicas=%d: the last word of redis.command must be a program called …-server, as its …-cli is used too" (int .Values.redis.replicas)) -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{/* What the bundled Redis doesn't promise of sessions, a clause; nothing where it has volumes. */}}
{{- define "snakepit.redisLoses" -}}
{{- if and (include "snakepit.redisBundled" .) (not (include "snakepit.redisPersistent" .)) -}}
{{- ternary "vanish when all three Redis pods are gone at once: they have no volumes" "vanish with the Redis pod, also when its node is drained: it has no volume" (not (empty (include "snakepit.redisReplicated" .))) -}}
{{- end -}}
{{- end -}}

{{/* Names of the addresses of its servers, by commas. */}}
{{- define "snakepit.redisNodes" -}}
{{- $names := list -}}
{{- range until (int .Values.redis.replicas) -}}
{{- $names = append $names (printf "%s-redis-%d.%s" (include "snakepit.fullname" $) . $.Release.Namespace) -}}
{{- end -}}
{{- join "," $names -}}
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

{{- define "snakepit.metricsApiSecret" -}}
{{- default (printf "%s-metrics-api" (include "snakepit.fullname" .)) .Values.metricsApi.certificate.existingSecret -}}
{{- end -}}

{{/* The Secret with the authority of callers' certificates; empty: they bring tokens. */}}
{{- define "snakepit.clientCASecret" -}}
{{- if .Values.tls.clientCASecret -}}
{{- if or (not .Values.tls.enabled) (eq .Values.authentication "off") -}}
{{- fail "tls.clientCASecret needs tls.enabled and authentication: required, as a certificate says who calls" -}}
{{- end -}}
{{- .Values.tls.clientCASecret -}}
{{- end -}}
{{- end -}}
