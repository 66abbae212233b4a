"""What is wrong with a release in a cluster: its own pods, the CRD, other releases, and who may dial it. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.conditions import of_pool
from snakepit.cli.doctor.objects import Cluster, Crd, Pod, Workload
from snakepit.cli.doctor.replicas import CONTROL_PLANE, OPERATOR, STORE, WITHOUT_STORE
from snakepit.client.findings import Finding
from snakepit.spec.fields import API_VERSION, SnakePoolSpec

_AWAY = {
    "operator": (
        OPERATOR,
        Code.OPERATOR_AWAY,
        "no capsule is made, replaced or scaled, and pools' conditions are old; calls go on",
    ),
    "control-plane": (CONTROL_PLANE, Code.CONTROL_PLANE_AWAY, "no call is answered"),
    "redis": (STORE, Code.STORE_UNAVAILABLE, WITHOUT_STORE),
    "gateway": ("gateway", Code.GATEWAY_AWAY, "nothing is served over HTTP and MCP, and no console"),
}
"""By component: what it is called, its word, and what that means."""

_CALLS = 7800
"""The control plane's port for calls."""

_CALLER = "snakepit.dev/caller"

_ALL = ""
"""Of namespaces that are watched."""


def of_cluster(cluster: Cluster, own_version: str) -> list[Finding]:
    """`own_version`: of this program."""
    found = [*_workloads(cluster), *_crd(cluster, own_version), *_releases(cluster), *_pools(cluster), *_network(cluster)]
    return [*found, *_unseen(cluster)]


def _workloads(cluster: Cluster) -> Iterator[Finding]:
    for each in cluster.workloads:
        if each.component in _AWAY and each.status.ready_replicas < max(each.spec.replicas, 1):
            yield _away(each, [pod for pod in cluster.pods if pod.metadata.label("app.kubernetes.io/component") == each.component])


def not_heard(cluster: Cluster, heard: int) -> list[Finding]:
    """`heard`: replicas of the control plane that have answered through kubectl's forwards."""
    replicas = sum(each.spec.replicas for each in cluster.workloads if each.component == "control-plane")
    if not 0 < heard < replicas:
        return []
    said = f"{heard} of {replicas} replicas answered through kubectl's forwards: what the others alone know is not here"
    advice = "only replicas that are ready are asked, and only who may list pods can tell them apart"
    return [Finding(CONTROL_PLANE, Code.NOT_LOOKED_AT, f"{said}; {advice}", severity="note")]


def _away(workload: Workload, pods: Sequence[Pod]) -> Finding:
    about, code, then = _AWAY[workload.component]
    where = f"{workload.kind} {workload.metadata.namespace}/{workload.metadata.name}"
    look = f"`kubectl describe pods -n {workload.metadata.namespace} -l app.kubernetes.io/component={workload.component}` says more"
    if not workload.spec.replicas:
        scale = f"`kubectl scale {workload.kind.lower()} {workload.metadata.name} -n {workload.metadata.namespace} --replicas=1`"
        return Finding(about, code, f"{where} is scaled to 0: {then}: {scale}")
    trouble = next((f" ({each.trouble})" for each in pods if each.trouble), "")
    said = f"{workload.status.ready_replicas} of {workload.spec.replicas} pods of {where} are ready{trouble}"
    if workload.status.ready_replicas:
        return Finding(about, Code.PODS_MISSING, f"{said}: the others do its work, until one more is lost: {look}")
    return Finding(about, code, f"{said}: {then}: {look}")


def _crd(cluster: Cluster, own_version: str) -> Iterator[Finding]:
    mend = "`helm upgrade` with crds.enabled, or `kubectl apply -f` the chart's files/crds"
    if cluster.is_crd_missing:
        said = "the CRD snakepools.snakepit.dev is missing: pools can neither be read nor made, and capsules that run serve on"
        yield Finding("CRD", Code.CRD_MISSING, f"{said}: {mend}")
    elif cluster.crd is not None and cluster.operator is not None and (why := _age(cluster.crd, cluster.operator, own_version)):
        yield Finding("CRD", Code.CRD_OLD, f"the CRD {why}: fields that it doesn't know are dropped or refused: {mend}")


def _age(crd: Crd, operator: Workload, own_version: str) -> str:
    """Why the CRD is of another release than the operator; empty: it isn't, or nothing says so."""
    theirs, operators = (each.metadata.label("app.kubernetes.io/version") for each in (crd, operator))
    if theirs and operators and theirs != operators:
        return f"is of version {theirs}, and the operator of {operators}"
    # What isn't numbered is taken to be as new as this program.
    is_ours = operators == own_version or not operators[:1].isdigit()
    missing = spec_fields() - crd.fields(API_VERSION.partition("/")[2]) if is_ours else frozenset()
    fields = ", ".join(f"spec.{each}" for each in sorted(missing))
    return f"lacks {fields}, which the operator knows" if missing else ""


def spec_fields() -> frozenset[str]:
    """As a SnakePool has them in `spec`."""
    return frozenset(each.encode_name for each in msgspec.structs.fields(SnakePoolSpec))


def watched(operator: Workload) -> frozenset[str]:
    """Namespaces whose pools it looks after; `_ALL` among them: every one."""
    return frozenset(each.strip() for each in operator.variable("WATCH_NAMESPACES").split(","))


def _releases(cluster: Cluster) -> Iterator[Finding]:
    own = cluster.operator
    if own is None:
        return
    for each in cluster.operators:
        if each.release == own.release or not (both := _both(watched(own), watched(each))):
            continue
        where = "every namespace" if _ALL in both else f"namespace {', '.join(sorted(both))}"
        said = f"the releases {own.release} and {each.release} both watch {where}: each leaves pools alone that the other has found first"
        yield Finding("releases", Code.TWO_RELEASES, f"{said}: uninstall one, or give them different watchNamespaces")


def _both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if _ALL in one:
        return other
    return one if _ALL in other else one & other


def _pools(cluster: Cluster) -> Iterator[Finding]:
    namespaces = watched(cluster.operator) if cluster.operator else frozenset({_ALL})
    is_there = cluster.operator is None or cluster.operator.status.ready_replicas > 0
    lease = f"{cluster.namespace}/{cluster.name}-operator"
    for each in cluster.pools:
        if _ALL in namespaces or each.metadata.namespace in namespaces:
            yield from of_pool(each, lease, is_operator_there=is_there)
        elif each.status is None:
            said = f"no operator looks at it: this release watches the namespaces {', '.join(sorted(namespaces))}"
            yield Finding(each.name, Code.POOL_UNWATCHED, f"{said}: add {each.metadata.namespace} to watchNamespaces")


def _network(cluster: Cluster) -> Iterator[Finding]:
    policies = [each for each in cluster.policies if each.metadata.label("app.kubernetes.io/component") == "control-plane"]
    if cluster.caller is None:
        return
    missing = [labels for each in policies for labels in each.labels_missing(cluster.caller.metadata, _CALLS)]
    # Where one says nothing for sure, or asks for other labels, a namespace may be let in without this one.
    if {_CALLER: "true"} in missing and None not in missing and {} not in missing:
        name = cluster.caller.metadata.name
        said = f"pods of namespace {name} may not dial the control plane, by the release's NetworkPolicy, as it lacks the label"
        advice = f"if callers run there, `kubectl label namespace {name} snakepit.dev/caller=true`"
        yield Finding(f"namespace {name}", Code.NAMESPACE_NOT_LABELLED, f"{said} snakepit.dev/caller: {advice}", severity="note")


def _unseen(cluster: Cluster) -> Iterator[Finding]:
    for each in cluster.unseen:
        yield Finding("cluster", Code.NOT_LOOKED_AT, f"{each.what} could not be looked at ({each.why})", severity="note")
