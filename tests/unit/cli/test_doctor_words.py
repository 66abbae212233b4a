"""Each word of the doctor is what it says of some facts, and of better ones it says nothing.

Faults that are staged are in tests/integration/doctor, and tests/integration/operator/doctor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from snakepit._wire.protocol import AUDIENCE_DETAIL, NOW_DETAIL, TLS_DETAIL, TOKEN_DETAIL
from snakepit.cli.doctor import pools, way
from snakepit.cli.doctor.cluster import of_cluster, spec_fields
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.facts import HTTP, QUIET, REFUSED, SILENT, Address, Token, Way
from snakepit.cli.doctor.objects import Cluster, Crd, Namespace, Policy, Pool, Unseen, Workload
from snakepit.cli.doctor.replicas import Heard, of_replicas, without_lanes
from snakepit.client.findings import Finding, of_pool
from snakepit.client.views import PoolInfo, ReplicaInfo, WorkerInfo
from snakepit.errors import ServerUnavailable, Unauthenticated

NOW = 1000.0
VERSION = "0.4.0"
OPEN = Address("cp", "10.0.0.1:7800")

Made = Callable[[], Iterable[Finding]]


# ---- facts; each is well, but for what is changed


def at(*addresses: Address, unknown: tuple[str, ...] = ()) -> Made:
    return lambda: way.of_way(Way("cp:7800", addresses, unknown))


def met(speaks: str) -> Made:
    """Who answers there, where nobody answered a request."""
    seen = Way("cp:7800", (msgspec.structs.replace(OPEN, speaks=speaks),))
    return lambda: way.of_refusal(ServerUnavailable("nobody answers"), seen, Token(), NOW)


def tls(kind: str) -> Made:
    return lambda: way.of_refusal(ServerUnavailable("no TLS", details={TLS_DETAIL: kind}), Way("cp:7800", (OPEN,)), Token(), NOW)


def refused(kind: str = "", token: Token | None = None, **details: str) -> Made:
    error = Unauthenticated("the token /t is refused", details={TOKEN_DETAIL: kind, **details} if kind else {})
    return lambda: way.of_refusal(error, Way("cp:7800", (OPEN,)), token or Token("/t"), NOW)


def replicas(*changed: dict[str, Any], missing: tuple[str, ...] = ()) -> Made:
    well = {"id": "r", "version": VERSION, "time": datetime.fromtimestamp(NOW, UTC), "store_ready": True, "store_message": ""}
    well |= {"not_ready": "", "operator_away_seconds": 0.0}
    return lambda: of_replicas(Heard([ReplicaInfo(**{**well, **each}) for each in changed], missing, NOW - 1, NOW + 1), VERSION)


def pool(**changed: Any) -> Made:
    well = PoolInfo("a/b", True, "Ready", "", 1, 1, 1, 0, 1, 0, 0, 1, queue_limit=10)
    return lambda: of_pool(msgspec.structs.replace(well, **changed), [])


WORKER = WorkerInfo("b-0/0", "i", "ready", "live", 1, 0, 0, 0, 0, 0.0, 0.0, 5.0, "", "", 1)


def worker(**changed: Any) -> Made:
    return lambda: pools.killed_for_memory([msgspec.structs.replace(WORKER, **changed)])


def of_workers(**changed: Any) -> Made:
    """Of the one worker of a pool."""
    well = PoolInfo("a/b", True, "Ready", "", 1, 1, 1, 0, 1, 0, 0, 1)
    return lambda: of_pool(well, [msgspec.structs.replace(WORKER, **changed)])


def asked(**changed: Any) -> Made:
    """Of a pool that somebody has named, as its spec has it."""
    live = changed.pop("live", 0)
    return lambda: pools.at_zero(PoolInfo("a/b", True, "Ready", "", live, live, live, 0, live, 0, 0, 1), changed)


def workload(component: str, ready: int, replicas: int = 1, watched: str = "", release: str = "snakepit") -> Workload:
    labels = {"app.kubernetes.io/component": component, "app.kubernetes.io/version": VERSION, "app.kubernetes.io/instance": release}
    template = {"spec": {"containers": [{"env": [{"name": "WATCH_NAMESPACES", "value": watched}]}]}}
    document = {"kind": "Deployment", "metadata": {"namespace": "system", "labels": labels}, "status": {"readyReplicas": ready}}
    return msgspec.convert({**document, "spec": {"replicas": replicas, "template": template}}, Workload)


OWN = workload("operator", 1)
TEAMS = workload("operator", 1, watched="team")


def cluster(*workloads: Workload, **seen: Any) -> Made:
    return lambda: of_cluster(Cluster("system", "snakepit", workloads=workloads, **seen), VERSION)


def snakepool(status: dict[str, Any] | None) -> Pool:
    return msgspec.convert({"metadata": {"namespace": "a", "name": "b", "generation": 1}, "status": status}, Pool)


def looked_after_by(lease: str) -> Pool:
    condition = {"type": "Available", "status": "True", "reason": "WorkersReady"}
    return snakepool({"observedGeneration": 1, "release": lease, "conditions": [condition]})


def definition(*lacks: str) -> Crd:
    known = {"properties": {"spec": {"properties": {each: {} for each in spec_fields().difference(lacks)}}}}
    versions = [{"name": "v1alpha1", "schema": {"openAPIV3Schema": known}}]
    return msgspec.convert({"metadata": {"labels": {"app.kubernetes.io/version": VERSION}}, "spec": {"versions": versions}}, Crd)


def dialled_from(labels: dict[str, str]) -> Made:
    """A namespace of callers, and the policy of the control plane."""
    caller = {"namespaceSelector": {"matchLabels": {"snakepit.dev/caller": "true"}}}
    metadata = {"namespace": "system", "labels": {"app.kubernetes.io/component": "control-plane"}}
    rules = [{"from": [caller], "ports": [{"port": 7800}]}]
    policy = msgspec.convert({"metadata": metadata, "spec": {"ingress": rules}}, Policy)
    return cluster(OWN, policies=(policy,), caller=msgspec.convert({"metadata": {"name": "shop", "labels": labels}}, Namespace))


CALL = "create snakepools/call"

ON_THE_WAY: dict[Code, Made] = {
    Code.NAME_UNKNOWN: at(OPEN, unknown=("nowhere",)),
    Code.NOTHING_LISTENS: at(Address("cp", "10.0.0.1:7800", REFUSED)),
    Code.NO_ANSWER: at(Address("cp", "10.0.0.1:7800", SILENT)),
    Code.NO_WAY: at(Address("cp", "10.0.0.1:7800", "Network is unreachable")),
    Code.WRONG_PORT: met(HTTP),
    Code.NOT_ANSWERING: met(QUIET),
    Code.TLS_MISSING: tls("wanted"),
    Code.TLS_NOT_SPOKEN: tls("none"),
    Code.CERTIFICATE_UNKNOWN: tls("authority"),
    Code.CERTIFICATE_OF_ANOTHER: tls("name"),
    Code.CERTIFICATE_NOT_YET_VALID: tls("early"),
    Code.CERTIFICATE_EXPIRED: tls("expired"),
    Code.CLIENT_CERTIFICATE_MISSING: tls("certificate"),
    Code.TLS_FILE_UNUSABLE: tls("file"),
    Code.TOKEN_MISSING: refused("missing"),
    Code.TOKEN_UNREADABLE: refused(token=Token("/t", "No such file")),
    Code.TOKEN_EXPIRED: refused("expired", **{NOW_DETAIL: "1001"}),
    Code.TOKEN_NOT_YET_VALID: refused("early", **{NOW_DETAIL: "999"}),
    Code.TOKEN_FOR_ANOTHER: refused("audience", **{AUDIENCE_DETAIL: "snakepit"}),
    Code.TOKEN_REFUSED: refused(),
    Code.CLOCK_SKEW: refused("expired", **{NOW_DETAIL: "2000"}),
}

WORDS: dict[Code, tuple[Made, Made]] = {
    **{code: (bad, at(OPEN)) for code, bad in ON_THE_WAY.items()},
    Code.VERSION_SKEW: (replicas({"version": "0.6.0"}), replicas({"version": "0.5.0"})),
    Code.VERSIONS_MIXED: (replicas({}, {"version": "0.5.0"}), replicas({}, {})),
    Code.NO_RIGHT: (lambda: pools.may_not_call("a/b", "ada", ["get snakepools"]), lambda: pools.may_not_call("a/b", "ada", [CALL])),
    Code.REPLICA_AWAY: (at(OPEN, Address("cp", "10.0.0.2:7800", REFUSED)), at(OPEN, OPEN)),
    Code.REPLICA_SILENT: (replicas({}, missing=("10.0.0.2:7800",)), replicas({})),
    Code.REPLICA_NOT_READY: (replicas({"not_ready": "it is draining"}), replicas({})),
    Code.STORE_UNAVAILABLE: (replicas({"store_ready": False, "store_message": "timed out"}), replicas({})),
    Code.STORE_SLOW: (replicas({}, {"store_seconds": 0.4}), replicas({"store_seconds": 0.2}, {})),
    Code.OPERATOR_AWAY: (replicas({"operator_away_seconds": 60.0}), replicas({"operator_away_seconds": 20.0})),
    Code.OPERATOR_UNHEARD: (replicas({"operator_away_seconds": 60.0}, {}), replicas({}, {})),
    Code.STORE_FORGETS: (replicas({"store_message": "nothing is written to disk"}), replicas({})),
    Code.LANES_CLOSED: (lambda: without_lanes(2, 1), lambda: without_lanes(2, 2)),
    Code.POOL_UNKNOWN: (lambda: [pools.unknown("a/b", ["a/c"])], list),
    Code.NO_POOLS: (lambda: [pools.none_seen("ada")], list),
    Code.SUSPENDED: (asked(suspended=True), asked(live=1)),
    Code.SCALED_TO_ZERO: (asked(), asked(live=1)),
    Code.QUEUE_FULL: (pool(queue_depth=10), pool(queue_depth=9)),
    Code.SESSIONS_FULL: (pool(sessions_mark=100), pool()),
    Code.SESSIONS_NEARLY_FULL: (pool(sessions_mark=80), pool()),
    Code.CAPSULES_MISSING: (pool(desired_capsules=2), pool()),
    Code.CAPSULE_SILENT: (of_workers(liveness="suspect"), of_workers()),
    Code.STARTING: (of_workers(state="starting", reason="Starting", message="setup() has been running for 3 s"), of_workers()),
    Code.OUT_OF_MEMORY: (worker(ended="OutOfMemory (137)"), worker(ended="OutOfMemory (137)", age_seconds=3600.0)),
    Code.CONTROL_PLANE_AWAY: (cluster(OWN, workload("control-plane", 0)), cluster(OWN, workload("control-plane", 1))),
    Code.GATEWAY_AWAY: (cluster(OWN, workload("gateway", 0)), cluster(OWN, workload("gateway", 1))),
    Code.PODS_MISSING: (cluster(OWN, workload("control-plane", 1, 2)), cluster(OWN, workload("control-plane", 2, 2))),
    Code.CRD_MISSING: (cluster(OWN, is_crd_missing=True), cluster(OWN)),
    Code.CRD_OLD: (cluster(OWN, crd=definition("slo")), cluster(OWN, crd=definition())),
    Code.TWO_RELEASES: (cluster(OWN, operators=(OWN, workload("operator", 1, release="other"))), cluster(OWN, operators=(OWN,))),
    Code.ANOTHER_RELEASE: (
        cluster(OWN, pools=(looked_after_by("other/other-operator"),)),
        cluster(OWN, pools=(looked_after_by("system/snakepit-operator"),)),
    ),
    Code.POOL_UNSEEN: (cluster(OWN, pools=(snakepool(None),)), cluster(OWN, pools=(looked_after_by(""),))),
    Code.POOL_UNWATCHED: (cluster(TEAMS, pools=(snakepool(None),)), cluster(OWN, pools=(looked_after_by(""),))),
    Code.NAMESPACE_NOT_LABELLED: (dialled_from({}), dialled_from({"snakepit.dev/caller": "true"})),
    Code.NOT_LOOKED_AT: (cluster(OWN, unseen=(Unseen("pods", "forbidden"),)), cluster(OWN)),
}


@pytest.mark.parametrize("code", Code)
def test_a_word_is_said_of_what_it_means_and_nothing_of_what_is_well(code: Code) -> None:
    bad, well = WORDS[code]
    assert [each.reason for each in bad()] == [code]
    assert list(well()) == []
