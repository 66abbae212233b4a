"""A pool's capsule as a Kubernetes pod: the author's template, our agent beside it, safe defaults where the author said nothing. Pure."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from snakepit.spec.codec import encode_spec
from snakepit.spec.fields import API_VERSION, KIND, DrainSpec, SnakePool, SnakePoolSpec
from snakepit.v1 import link_pb2
from snakepit_operator import template
from snakepit_operator.model import Creation, Reason
from snakepit_operator.rollout import digest
from snakepit_operator.template import AGENT_UID, RUN_DIR_VARIABLE, TOKEN_VOLUME

Object = dict[str, Any]

WORKER = "worker"
AGENT = "snakepit-agent"
RUN_DIR = "/run/snakepit"
HEALTH_PORT = 7802
METRICS = "agent-metrics"
"""The port's name in the pod, which a PodMonitor selects: an author's own container may have one called metrics."""
TOKEN_DIR = "/var/run/secrets/snakepit"
TOKEN_SECONDS = 3600
"""A token's life; the kubelet replaces it when four fifths have passed."""
DEFAULT_UID = 1000
SHARED_GROUP = 2000
GRACE_SECONDS = 10
"""On top of the drain: for the kubelet and the agent's own end."""

POOL_LABEL, HASH_LABEL, ORDINAL_LABEL = "snakepit.dev/pool", "snakepit.dev/template-hash", "snakepit.dev/ordinal"
ATTEMPT_ANNOTATION = "snakepit.dev/attempt"
AGENT_ANNOTATION = "snakepit.dev/agent-hash"
AVOIDS_ANNOTATION = "snakepit.dev/avoids-nodes"


class AgentImage(Struct, frozen=True, kw_only=True):
    """How the operator was told to run the sidecar."""

    image: str
    """The capsules' agent (SNAKEPIT_AGENT_IMAGE)."""
    pull_policy: str = ""
    """`Always`, `IfNotPresent` or `Never` (SNAKEPIT_AGENT_IMAGE_PULL_POLICY)."""
    resources: Object = {}
    """As a container's `resources`, as JSON (SNAKEPIT_AGENT_RESOURCES, by default `{}`)."""
    env: tuple[Object, ...] = ()
    """As a container's `env`, as JSON (SNAKEPIT_AGENT_ENV, by default `[]`)."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets with commas between, added to every capsule (SNAKEPIT_AGENT_PULL_SECRETS)."""
    control_plane: str = "dns:///snakepit-control-plane:7800"
    """What it and the agents dial (SNAKEPIT_CONTROL_PLANE, by default the headless Service)."""
    audience: str = ""
    """The control plane's audience, for which agents' tokens are (SNAKEPIT_AUTH_AUDIENCE); empty: capsules get none."""
    authority: str = ""
    """The ConfigMap with whom agents believe to be the control plane; empty: it has no certificate."""
    metrics_port: int = 0
    """Where new agents have `/metrics`; 0: nowhere (SNAKEPIT_AGENT_METRICS_PORT). The chart says 7801 with `metrics.agents`."""


def problem(spec: SnakePoolSpec) -> tuple[str, str] | None:
    """Why no pod can be made of this spec: reason and sentence. None: it can."""
    if spec.template is not None and (said := template.problem(spec.template)) is not None:
        return Reason.INVALID_SPEC, said
    if not _worker_container(spec).get("image"):
        return Reason.IMAGE_MISSING, "set spec.image, or give the container named worker in spec.template an image"
    return None


def settings_json(spec: SnakePoolSpec) -> str:
    """What agents and the control plane get to know: everything but how the pod looks."""
    return encode_spec(msgspec.structs.replace(spec, template=None, image=None, agent=None))


def pool_settings(pool: SnakePool) -> link_pb2.PoolSettings:
    """What the control plane gets to know of a pool."""
    metadata = pool.metadata
    return link_pb2.PoolSettings(
        pool=f"{metadata.namespace}/{metadata.name}", uid=metadata.uid, generation=metadata.generation, spec=settings_json(pool.spec)
    )


def agent_hash(agent: AgentImage) -> str:
    """A hash of what an agent is told at its start and keeps: its image and environment. Of the pool's settings it hears by its links."""
    return digest(msgspec.to_builtins(agent), 10)


def pod(pool: SnakePool, creation: Creation, agent: AgentImage) -> Object:
    """The pod to create. Call `problem` first."""
    metadata = (pool.spec.template or {}).get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": creation.name,
            "namespace": pool.metadata.namespace,
            "labels": {
                **labels(pool),
                **(metadata.get("labels") or {}),
                POOL_LABEL: pool.metadata.name,
                HASH_LABEL: creation.template_hash,
                ORDINAL_LABEL: str(creation.ordinal),
            },
            "annotations": {
                "kubectl.kubernetes.io/default-container": WORKER,
                **(metadata.get("annotations") or {}),
                ATTEMPT_ANNOTATION: str(creation.attempt),
                AGENT_ANNOTATION: agent_hash(agent),
                **({AVOIDS_ANNOTATION: ",".join(creation.avoid)} if creation.avoid else {}),
            },
            "ownerReferences": [owner(pool)],
        },
        "spec": _spec(pool, creation, agent),
    }


def in_template(message: str, pod: Object) -> str:
    """What the API server says of a pod, with the fields' places in the pool, where the author looks for them."""

    def place(found: re.Match[str]) -> str:
        part, kind, index = found.groups()
        if kind is None:
            return f"spec.template.{part}."
        every = pod["spec"].get(kind) or []
        name = every[int(index)].get("name") if int(index) < len(every) else None
        return "spec.agent" if name == AGENT else f"spec.template.spec.{kind}[{name or index}]"

    return _PLACE.sub(place, message)


_PLACE = re.compile(r"(?<![\w.])(spec|metadata)\.(?:(containers|initContainers|volumes)\[(\d+)\])?")


def grace_seconds(drain: DrainSpec) -> int:
    """How long a pod's end may take. A deletion says so itself: the pod may be of a time when the pool had another drain."""
    return math.ceil(drain.timeout_seconds + drain.kill_after_seconds) + GRACE_SECONDS


def labels(pool: SnakePool) -> dict[str, str]:
    """The labels of everything that belongs to the pool."""
    return {
        "app.kubernetes.io/name": "snakepit-capsule",
        "app.kubernetes.io/instance": pool.metadata.name,
        "app.kubernetes.io/component": "capsule",
        "app.kubernetes.io/part-of": "snakepit",
        "app.kubernetes.io/managed-by": "snakepit-operator",
        POOL_LABEL: pool.metadata.name,
    }


def owner(pool: SnakePool) -> Object:
    """Garbage collection deletes with the pool whatever carries this; nothing of ours has a finalizer."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": pool.metadata.name,
        "uid": pool.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def disruption_budget(pool: SnakePool, size: int) -> Object:
    """Evictions take one capsule at a time; those that aren't ready anyway may always go.

    Kubernetes takes `spec.replicas` for the size, which is ignored with `autoscaling`: then the budget says how many are to stay.
    """
    allowed = {"maxUnavailable": 1} if pool.spec.autoscaling is None else {"minAvailable": max(0, size - 1)}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": f"{pool.metadata.name}-capsules",
            "namespace": pool.metadata.namespace,
            "labels": labels(pool),
            "ownerReferences": [owner(pool)],
        },
        "spec": {
            **allowed,
            "selector": {"matchLabels": {POOL_LABEL: pool.metadata.name}},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def callers_binding(pool: SnakePool, role: str) -> Object:
    """The service accounts of a pool's namespace may call its pools."""
    namespace = pool.metadata.namespace
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": _shared(pool, f"{role}s"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": f"system:serviceaccounts:{namespace}"}],
    }


def capsule_policy(pool: SnakePool, policy: Object) -> Object:
    """What the capsules of a pool's namespace may dial; nobody may dial them. `policy`: name and spec, as the release has it."""
    metadata = _shared(pool, policy["metadata"]["name"])
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": policy["spec"]}


def authority_map(name: str, bundle: str, namespace: str, owner: Object) -> Object:
    """Who signs the control plane's certificate, told to a namespace. One for all in it: it goes with the last that owns it."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _owned(namespace, name, owner), "data": {"ca.crt": bundle}}


def one_of(pool: SnakePool) -> Object:
    """The pool as one owner among several."""
    return {**owner(pool), "controller": False}


def _shared(pool: SnakePool, name: str) -> Object:
    """Of what a namespace has once for all of its pools: it goes with the last that owns it."""
    return _owned(pool.metadata.namespace, name, one_of(pool))


def _owned(namespace: str, name: str, owner: Object) -> Object:
    labels = {"app.kubernetes.io/managed-by": "snakepit-operator"}
    return {"name": name, "namespace": namespace, "labels": labels, "ownerReferences": [owner]}


def _pod_spec(spec: SnakePoolSpec) -> Object:
    found = (spec.template or {}).get("spec")
    return found if isinstance(found, dict) else {}


def _worker_container(spec: SnakePoolSpec) -> Object:
    containers = [each for each in _pod_spec(spec).get("containers") or [] if each.get("name") == WORKER]
    container = dict(containers[0]) if containers else {"name": WORKER}
    return {**container, "image": spec.image} if spec.image else container


def _spec(pool: SnakePool, creation: Creation, agent: AgentImage) -> Object:
    author = copy.deepcopy(_pod_spec(pool.spec))
    others = list(author.get("containers") or [])
    if (named := next((each for each in others if each.get("name") == WORKER), None)) is not None:
        others.remove(named)  # A second one of that name is for the API server to refuse.
    before = author.get("initContainers") or []
    author = {**_defaults(pool, author), **author}
    return {
        **author,
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": grace_seconds(pool.spec.drain),
        "securityContext": {**_identity(DEFAULT_UID), "fsGroup": SHARED_GROUP, **(author.get("securityContext") or {})},
        "initContainers": [_agent(pool, creation, agent), *(_secured(each) for each in before)],
        "containers": [_worker(pool.spec), *(_secured(each) for each in others)],
        "volumes": [
            {"name": "snakepit-run", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "snakepit-tmp", "emptyDir": {}},
            *([_token_volume(pool, agent)] if agent.audience or agent.authority else []),
            *(author.get("volumes") or []),
        ],
        **_pull_secrets(author, agent),
        **_elsewhere(author, creation.avoid),
    }


def _elsewhere(author: Object, nodes: Sequence[str]) -> Object:
    """The author's affinity, and not to these nodes. Terms are alternatives, so that each of them must say it."""
    if not nodes:
        return {}
    others = [{"key": "metadata.name", "operator": "NotIn", "values": [each]} for each in nodes]
    try:
        affinity = author.get("affinity") or {}
        to_nodes = affinity.get("nodeAffinity") or {}
        terms = (to_nodes.get(_REQUIRED) or {}).get("nodeSelectorTerms") or [{}]
        narrowed = [{**term, "matchFields": [*(term.get("matchFields") or []), *others]} for term in terms]
        return {"affinity": {**affinity, "nodeAffinity": {**to_nodes, _REQUIRED: {"nodeSelectorTerms": narrowed}}}}
    except (AttributeError, TypeError):  # Of the wrong shape: the API server says so of the pod.
        return {}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _defaults(pool: SnakePool, author: Object) -> Object:
    """What holds where the author says nothing.

    Zones aren't a second constraint: a node without its label would count in neither, and where nodes have no zones, capsules would be
    spread over nothing (kubernetes/kubernetes#98480).
    """
    found: Object = {"automountServiceAccountToken": False, "enableServiceLinks": False}
    if "topologySpreadConstraints" in author:
        return found
    ours = {"labelSelector": {"matchLabels": {POOL_LABEL: pool.metadata.name}}}
    nodes = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway", **ours}
    zones = {"weight": 100, "podAffinityTerm": {"topologyKey": "topology.kubernetes.io/zone", **ours}}
    apart = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [zones]}}
    return {**found, "topologySpreadConstraints": [nodes], "affinity": apart}


def _pull_secrets(author: Object, agent: AgentImage) -> Object:
    names = [*(author.get("imagePullSecrets") or []), *({"name": name} for name in agent.pull_secrets)]
    return {"imagePullSecrets": names} if names else {}


def _identity(uid: int) -> Object:
    return {"runAsNonRoot": True, "runAsUser": uid, "runAsGroup": uid, "seccompProfile": {"type": "RuntimeDefault"}}


_RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def _secured(container: Object) -> Object:
    """The author's container with what PodSecurity `restricted` asks for, where the author said nothing."""
    return {**container, "securityContext": {**_RESTRICTED, **(container.get("securityContext") or {})}}


def _worker(spec: SnakePoolSpec) -> Object:
    container = _secured(_worker_container(spec))
    env = container.get("env") or []
    home = [] if any(each.get("name") == "HOME" for each in env) else [{"name": "HOME", "value": "/tmp"}]
    mounts = container.get("volumeMounts") or []
    tmp = [] if any(each.get("mountPath") == "/tmp" for each in mounts) else [{"name": "snakepit-tmp", "mountPath": "/tmp"}]
    return {
        "command": ["snakepit-keeper"],
        **container,
        "env": [{"name": RUN_DIR_VARIABLE, "value": RUN_DIR}, *home, *env],
        "volumeMounts": [{"name": "snakepit-run", "mountPath": RUN_DIR}, *tmp, *mounts],
    }


def _agent(pool: SnakePool, creation: Creation, agent: AgentImage) -> Object:
    policy = {"imagePullPolicy": agent.pull_policy} if agent.pull_policy else {}
    return {
        "name": AGENT,
        "image": agent.image,
        **policy,
        "restartPolicy": "Always",
        "env": [*_agent_env(pool, creation, agent), *agent.env],
        **({"ports": [{"name": METRICS, "containerPort": agent.metrics_port}]} if agent.metrics_port else {}),
        "resources": agent.resources if (own := pool.spec.agent) is None or own.resources is None else own.resources,
        # No startupProbe: the author's container would start a second or two later for it. Its keeper dials until the agent listens.
        "livenessProbe": {**_probe(""), "initialDelaySeconds": 15, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
        # The agent answers when the first worker is warm, after 20 s at the latest, and then at once.
        "readinessProbe": {**_probe("ready"), "periodSeconds": 2, "timeoutSeconds": 25, "failureThreshold": 2},
        "securityContext": {**_RESTRICTED, **_identity(AGENT_UID)},
        "volumeMounts": [
            {"name": "snakepit-run", "mountPath": RUN_DIR},
            *([{"name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": True}] if agent.audience or agent.authority else []),
        ],
    }


def _token_volume(pool: SnakePool, agent: AgentImage) -> Object:
    """A token that is good for nothing but the control plane, and there for a capsule of this pool; and whom it may be shown to."""
    sources: list[Object] = []
    if agent.audience:
        audience = f"{agent.audience}/{pool.metadata.namespace}/{pool.metadata.name}"
        sources.append({"serviceAccountToken": {"path": "token", "audience": audience, "expirationSeconds": TOKEN_SECONDS}})
    if agent.authority:
        sources.append({"configMap": {"name": agent.authority}})
    return {"name": TOKEN_VOLUME, "projected": {"sources": sources}}


def _agent_env(pool: SnakePool, creation: Creation, agent: AgentImage) -> list[Object]:
    values = {
        "SNAKEPIT_POOL": f"{pool.metadata.namespace}/{pool.metadata.name}",
        "SNAKEPIT_POOL_UID": pool.metadata.uid,
        "SNAKEPIT_POOL_GENERATION": str(pool.metadata.generation),
        "SNAKEPIT_SPEC": settings_json(pool.spec),
        "SNAKEPIT_CAPSULE": creation.name,
        "SNAKEPIT_SERVER": agent.control_plane,
        "SNAKEPIT_RUN_DIR": RUN_DIR,
        "SNAKEPIT_HEALTH_PORT": str(HEALTH_PORT),
        **({"SNAKEPIT_METRICS_PORT": str(agent.metrics_port)} if agent.metrics_port else {}),
        **({"SNAKEPIT_TOKEN_FILE": f"{TOKEN_DIR}/token"} if agent.audience else {}),
        **({"SNAKEPIT_CA_FILE": f"{TOKEN_DIR}/ca.crt"} if agent.authority else {}),
    }
    fields = {"SNAKEPIT_POD_UID": "metadata.uid", "SNAKEPIT_NODE": "spec.nodeName"}
    of_pod = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    # Kubernetes expands $(NAME) in a value; $$ is a plain $.
    return [*({"name": name, "value": value.replace("$(", "$$(")} for name, value in values.items()), *of_pod]


def _probe(service: str) -> Object:
    return {"grpc": {"port": HEALTH_PORT, "service": service}}
