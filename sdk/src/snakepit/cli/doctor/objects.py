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


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: Labels | None = None
    match_expressions: tuple[dict[str, Any], ...] | None = None

    @property
    def keys(self) -> frozenset[str]:
        """Of labels that it asks for."""
        return frozenset([*(self.match_labels or {}), *(str(each.get("key")) for each in self.match_expressions or ())])


class _Peer(msgspec.Struct, frozen=True, rename="camel"):
    namespace_selector: _Selector | None = None
    pod_selector: _Selector | None = None

    def is_for_callers(self, *, at_home: bool) -> bool:
        """It is of pods, and not of the release's own parts, or capsules. `at_home`: in the policy's namespace."""
        pods = self.pod_selector.keys if self.pod_selector else frozenset()
        is_of_pods = self.namespace_selector is not None or (at_home and self.pod_selector is not None)
        return is_of_pods and not pods & {"snakepit.dev/pool", "app.kubernetes.io/component"}

    def labels_missing(self, namespace: Metadata) -> Labels | None:
        """Which the namespace lacks to be let in; empty: none. None: nobody can tell here."""
        selector = self.namespace_selector or _Selector()
        if selector.match_expressions:
            return None
        return {name: value for name, value in (selector.match_labels or {}).items() if namespace.label(name) != value}


class _Port(msgspec.Struct, frozen=True, rename="camel"):
    port: int | str | None = None
    end_port: int | None = None

    def has(self, port: int) -> bool:
        """Nothing is known of a port that is named: it may be this one."""
        return not isinstance(self.port, int) or self.port <= port <= (self.end_port or self.port)


class _Ingress(msgspec.Struct, frozen=True, rename="camel"):
    from_: tuple[_Peer, ...] | None = msgspec.field(name="from", default=None)
    ports: tuple[_Port, ...] | None = None


class _PolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    ingress: tuple[_Ingress, ...] | None = None


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """A NetworkPolicy."""

    metadata: Metadata
    spec: _PolicySpec = _PolicySpec()

    def labels_missing(self, namespace: Metadata, port: int) -> list[Labels | None]:
        """By each peer that may dial this port: which labels the namespace lacks to be let in. Empty: none. None: nobody can tell here."""
        rules = [each for each in self.spec.ingress or () if not each.ports or any(one.has(port) for one in each.ports)]
        anybody: list[Labels | None] = [{} for each in rules if not each.from_]
        at_home = namespace.name == self.metadata.namespace
        peers = [peer for rule in rules for peer in rule.from_ or () if peer.is_for_callers(at_home=at_home)]
        return anybody + [peer.labels_missing(namespace) for peer in peers]


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
