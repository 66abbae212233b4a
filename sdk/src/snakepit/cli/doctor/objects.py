"""What the doctor reads of Kubernetes' objects, and what it has seen of a cluster. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

Labels = dict[str, str]


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """Of any object."""

    name: str = ""
    namespace: str = ""
    labels: Labels | None = None
    generation: int = 0

    def label(self, name: str) -> str:
        """Its value; empty: there is none."""
        return (self.labels or {}).get(name, "")


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """Of a SnakePool or a pod."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class PoolStatus(msgspec.Struct, frozen=True, rename="camel"):
    """What the operator has written. `release` is the Lease of the operator that looks after the pool."""

    observed_generation: int = 0
    release: str = ""
    conditions: tuple[Condition, ...] = ()


class Pool(msgspec.Struct, frozen=True, rename="camel"):
    """A SnakePool."""

    metadata: Metadata
    status: PoolStatus | None = None

    @property
    def name(self) -> str:
        """As `namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    def condition(self, type_: str) -> Condition | None:
        """None: the operator has not said it."""
        return next((each for each in self.status.conditions if each.type == type_), None) if self.status else None


class Variable(msgspec.Struct, frozen=True, rename="camel"):
    """Of a container's environment."""

    name: str
    value: str = ""


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """Of a pod's template."""

    env: tuple[Variable, ...] | None = None


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    containers: tuple[Container, ...] = ()


class _Template(msgspec.Struct, frozen=True, rename="camel"):
    spec: _PodSpec = _PodSpec()


class _WorkloadSpec(msgspec.Struct, frozen=True, rename="camel"):
    replicas: int = 1
    template: _Template = _Template()


class _WorkloadStatus(msgspec.Struct, frozen=True, rename="camel"):
    ready_replicas: int = 0


class Workload(msgspec.Struct, frozen=True, rename="camel"):
    """A Deployment or StatefulSet."""

    kind: str
    metadata: Metadata
    spec: _WorkloadSpec = _WorkloadSpec()
    status: _WorkloadStatus = _WorkloadStatus()

    @property
    def component(self) -> str:
        """Which of a release's it is: operator, control-plane, redis, gateway …"""
        return self.metadata.label("app.kubernetes.io/component")

    @property
    def release(self) -> str:
        """As `namespace/release`."""
        return f"{self.metadata.namespace}/{self.metadata.label('app.kubernetes.io/instance')}"

    def variable(self, name: str) -> str:
        """Of its containers' environment; empty: it isn't set."""
        found = (each for one in self.spec.template.spec.containers for each in one.env or ())
        return next((each.value for each in found if each.name == name), "")


class _Waiting(msgspec.Struct, frozen=True, rename="camel"):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct, frozen=True, rename="camel"):
    waiting: _Waiting | None = None


class _ContainerStatus(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    state: _State = _State()


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[_ContainerStatus, ...] = ()


class Pod(msgspec.Struct, frozen=True, rename="camel"):
    """One of a release's own."""

    metadata: Metadata
    status: _PodStatus = _PodStatus()

    @property
    def trouble(self) -> str:
        """What keeps it from running, in Kubernetes' words; empty: nothing is said."""
        unscheduled = (each for each in self.status.conditions if each.type == "PodScheduled" and each.status == "False")
        for each in unscheduled:
            return f"{each.reason}: {each.message}"
        for container in self.status.container_statuses:
            waiting = container.state.waiting
            if waiting is not None and waiting.reason not in ("", "ContainerCreating", "PodInitializing"):
                return f"container {container.name}: {waiting.message or waiting.reason}"
        return f"{self.status.reason}: {self.status.message}" if self.status.reason else ""


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    schema: dict[str, Any] = {}


class _CrdSpec(msgspec.Struct, frozen=True, rename="camel"):
    versions: tuple[_Version, ...] = ()


class Crd(msgspec.Struct, frozen=True, rename="camel"):
    """The SnakePools' definition."""

    metadata: Metadata
    spec: _CrdSpec

    def fields(self, version: str) -> frozenset[str]:
        """Of `spec` of a SnakePool; empty where the version isn't there."""
        found: Any = next((each.schema for each in self.spec.versions if each.name == version), {})
        for step in ("openAPIV3Schema", "properties", "spec", "properties"):
            found = found.get(step, {})
        return frozenset(found)


class _Peer(msgspec.Struct, frozen=True, rename="camel"):
    namespace_selector: dict[str, Any] | None = None
    pod_selector: dict[str, Any] | None = None


class _Ingress(msgspec.Struct, frozen=True, rename="camel"):
    from_: tuple[_Peer, ...] | None = msgspec.field(name="from", default=None)


class _PolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    pod_selector: dict[str, Any] = {}
    ingress: tuple[_Ingress, ...] | None = None


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """A NetworkPolicy."""

    metadata: Metadata
    spec: _PolicySpec = _PolicySpec()

    @property
    def of_labels(self) -> Labels:
        """Namespaces with such a label may dial whom it protects."""
        peers = (peer for rule in self.spec.ingress or () for peer in rule.from_ or ())
        found: Labels = {}
        for peer in peers:
            found |= (peer.namespace_selector or {}).get("matchLabels") or {}
        return found


class Namespace(msgspec.Struct, frozen=True, rename="camel"):
    """One that callers may be in."""

    metadata: Metadata


class Unseen(msgspec.Struct, frozen=True):
    """What could not be looked at, and why, in kubectl's words."""

    what: str
    why: str


class Cluster(msgspec.Struct, frozen=True):
    """What was seen of a release and its pools. `namespace` and `name` are those of its Service. `crd` None: there is none, or nobody could
    look (see `unseen`). `pools` may be those of one namespace. `caller`: the namespace that was named, if any."""

    namespace: str
    name: str
    release: str
    workloads: tuple[Workload, ...] = ()
    operators: tuple[Workload, ...] = ()
    """Of every release that there is."""
    pods: tuple[Pod, ...] = ()
    crd: Crd | None = None
    is_crd_missing: bool = False
    pools: tuple[Pool, ...] = ()
    policies: tuple[Policy, ...] = ()
    caller: Namespace | None = None
    unseen: tuple[Unseen, ...] = ()

    @property
    def operator(self) -> Workload | None:
        """The release's own."""
        return next((each for each in self.workloads if each.component == "operator"), None)
