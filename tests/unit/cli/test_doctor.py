"""What the doctor makes of what it has seen, and that its page has every word of it."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from snakepit.cli.doctor import conditions, pools, probes, way
from snakepit.cli.doctor.cluster import not_heard, of_cluster, spec_fields
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.facts import REFUSED, Address, Token, Way
from snakepit.cli.doctor.objects import Cluster, Crd, Namespace, Policy, Pool, Workload
from snakepit.cli.doctor.replicas import SLOW_SECONDS, Heard, are_neighbours, of_replicas
from snakepit.client.findings import Finding
from snakepit.client.views import PoolInfo, ReplicaInfo, WorkerInfo
from snakepit.errors import Unauthenticated
from snakepit_operator.model import Reason
from snakepit_operator.views import START_FAULTS
from support.stuck import ROWS

ROOT = Path(__file__).resolve().parents[3]


def replica(**changed: Any) -> ReplicaInfo:
    said = {"id": "r", "version": "0.4.0", "time": datetime.fromtimestamp(100.0, UTC), "store_ready": True, "store_message": ""}
    return ReplicaInfo(**{**said, "not_ready": "", "operator_away_seconds": 0.0, **changed})


def of(*replicas: ReplicaInfo, missing: tuple[str, ...] = (), asked: float = 99.0, answered: float = 101.0) -> list[Finding]:
    return of_replicas(Heard(replicas, missing, asked, answered), "0.4.1")


def test_the_page_has_a_row_for_every_word_and_no_others() -> None:
    rows = [line.split(" | ") for line in (ROOT / "docs/troubleshooting.md").read_text().splitlines() if line.startswith("| ")]
    assert {word for row in rows for word in re.findall(r"`([A-Z]\w+[a-z])`", row[1])} - {"SetupFailed"} == set(Code)


def staged() -> list[tuple[str, str]]:
    """What the decision says that a test makes the doctor say, and the source of that test."""
    page = (ROOT / "docs/decisions/2026-11-29-the-doctor-walks.md").read_text()
    rows = re.findall(r"^\| .+ \| (`.+`) \| \[a test\]\(\.\./\.\./(\S+)#(\w+)\) \|$", page, re.MULTILINE)
    assert len(rows) == page.count("[a test]")
    return [(word, source(ROOT / file, test)) for words, file, test in rows for word in re.findall(r"\w+", words)]


def source(file: Path, test: str) -> str:
    """Of that test, with its parameters."""
    found = {each.name: each for each in ast.parse(file.read_text()).body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    return ast.unparse(found[test])


def test_what_the_decision_says_is_staged_is_what_that_test_makes_the_doctor_say() -> None:
    kinds, found = {row.reason for row in ROWS}, staged()
    assert len(found) > 30
    for word, test in found:
        code = f"Code.{Code(word).name}" if word in set(Code) else f"'{word}'"
        assert code in test or (word in kinds and "ROWS" in test), word


def test_replicas_that_are_well_have_nothing() -> None:
    assert of(replica(), replica(id="s")) == []


@pytest.mark.parametrize(
    ("time", "ahead"),
    [(89.5, None), (110.5, None), (88.0, "11 s behind"), (3701.0, "1 h ahead")],
)
def test_a_clock_is_wrong_only_by_what_the_way_of_the_question_does_not_explain(time: float, ahead: str | None) -> None:
    found = of(replica(time=datetime.fromtimestamp(time, UTC)))
    assert [each.reason for each in found] == ([Code.CLOCK_SKEW] if ahead else [])
    assert ahead is None or f"its clock is {ahead} of this machine's" in found[0].message


def test_a_store_that_some_replicas_reach_is_counted() -> None:
    (found,) = of(replica(), replica(id="s", store_ready=False, store_message="timed out"))
    assert found.reason == Code.STORE_UNAVAILABLE
    assert "can't be used from 1 of 2 replicas (timed out)" in found.message


def test_a_store_that_is_slow_to_some_replicas_is_as_slow_as_to_the_worst() -> None:
    (found,) = of(replica(store_seconds=0.3), replica(id="s", store_seconds=0.562), replica(id="t"))
    assert found.reason == Code.STORE_SLOW
    assert "slowly to 2 of 3 replicas: one answer in a hundred takes 562 ms" in found.message


def test_a_store_that_is_away_is_not_said_to_be_slow() -> None:
    (found,) = of(replica(store_seconds=0.4, store_ready=False, store_message="timed out"))
    assert found.reason == Code.STORE_UNAVAILABLE


def test_the_doctor_calls_a_store_slow_when_its_alert_does() -> None:
    rules = yaml.safe_load((ROOT / "charts/snakepit/files/rules/sessions.yaml").read_text())["groups"][0]["rules"]
    (expression,) = [each["expr"] for each in rules if each["alert"] == "SnakepitStoreSlow"]
    assert float(expression.rpartition("> ")[2]) == SLOW_SECONDS


def test_a_replica_that_says_nothing_and_replicas_of_several_versions() -> None:
    silent, mixed = of(replica(), replica(id="s", version="0.5.0"), missing=("10.0.0.1:7800",))
    assert (silent.reason, "10.0.0.1:7800" in silent.message) == (Code.REPLICA_SILENT, True)
    assert (mixed.reason, mixed.severity, "0.4.0, 0.5.0" in mixed.message) == (Code.VERSIONS_MIXED, "note", True)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("0.4.1", "0.4.9", True),
        ("0.4.1", "0.5.0", True),
        ("0.4.1", "0.6.0", False),
        ("1.0.0", "2.0.0", False),
        ("1.2.0.dev3+g12ab", "1.3.0", True),
        ("0.4.1", "unknown", True),
    ],
)
def test_neighbouring_releases(one: str, other: str, near: bool) -> None:
    assert are_neighbours(one, other) is are_neighbours(other, one) is near


def test_one_address_of_several_is_a_replica_and_the_only_one_is_the_way() -> None:
    away, there = Address("snakepit", "10.0.0.1:7800", REFUSED), Address("snakepit", "10.0.0.2:7800")
    assert [each.reason for each in way.of_way(Way("snakepit:7800", (away, there)))] == [Code.REPLICA_AWAY]
    assert [each.reason for each in way.of_way(Way("snakepit:7800", (away,)))] == [Code.NOTHING_LISTENS]
    assert way.of_way(Way("snakepit:7800", (there,))) == []


def test_a_refusal_that_says_no_more_keeps_its_words() -> None:
    (found,) = way.of_refusal(Unauthenticated("the token is none of --token-file's"), Way("a:1"), Token("/t"), 0.0)
    assert (found.about, found.reason) == ("/t", Code.TOKEN_REFUSED)
    assert found.message.startswith("the token is none of --token-file's: make one by")


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "a.!!!.c", "a.WzFd.c", "a.bm8.c"])
def test_what_is_no_jwt_has_no_claims(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text)
    token = probes.read_token(str(tmp_path / "token"))
    assert (token.problem, token.claims, token.time("exp")) == ("", {}, None)


def test_the_cluster_says_why_and_the_control_plane_what_it_alone_knows() -> None:
    missing, full = Finding("a/b", Code.CAPSULES_MISSING, "few"), Finding("a/b", Code.QUEUE_FULL, "full")
    why, note = Finding("a/b", "PodRefused", "quota"), Finding("c/d", Code.NOT_LOOKED_AT, "no", severity="note")
    other = Finding("c/d", Code.CAPSULES_MISSING, "few")
    assert pools.merged([missing, full, other], [why, note]) == [full, other, why, note]


@pytest.mark.parametrize(
    "condition",
    [
        ("ObjectivesMet", "False", "BudgetSpent"),
        ("AutoscalingLimited", "True", "ScalingLimited"),
        ("SessionStoreReady", "True", "SessionsNearlyFull"),
        ("SessionStoreReady", "False", "StoreUnavailable"),
        ("Synced", "False", "SettingsPending"),
        ("Synced", "False", "SettingsRefused"),
    ],
)
def test_only_what_says_why_capsules_are_missing_stands_for_that_they_are(condition: tuple[str, str, str]) -> None:
    lease = "system/snakepit-operator"
    fleets = [Finding("a/b", Code.CAPSULES_MISSING, "few"), Finding("a/b", "NoCapsule", "0 of 1 capsules are there")]
    alarm = list(conditions.of_pool(pool(condition), lease, is_operator_there=True))
    unseen = list(conditions.of_pool(pool(*WELL, generation=2), lease, is_operator_there=True))
    why = list(conditions.of_pool(pool(condition, ("Degraded", "True", "Unschedulable")), lease, is_operator_there=True))
    assert pools.merged(fleets, alarm) == [*fleets, *alarm]
    assert pools.merged(fleets, unseen) == [*fleets, *unseen]
    assert pools.merged(fleets, why) == why


@pytest.mark.parametrize("reason", [Code.SUSPENDED, Code.SCALED_TO_ZERO, Code.POOL_UNKNOWN, "PERMISSION_DENIED"])
def test_what_the_control_plane_alone_says_stays_beside_the_clusters_cause(reason: str) -> None:
    said, why = Finding("a/b", reason, "so"), Finding("a/b", "PodRefused", "quota")
    assert pools.merged([said, Finding("a/b", "NoCapsule", "none")], [why]) == [said, why]


def test_what_a_worker_has_is_not_said_beside_the_same_of_its_pools_condition() -> None:
    why = Finding("a/digits", "SetupFailed", "a worker of digits-0-x: KeyError")
    worker = Finding("digits-0-x/1", "SetupFailed", "KeyError; what to do: mend the adapter")
    other, another = Finding("digits-new-0-x/1", "SetupFailed", "KeyError"), Finding("digits-0-x/1", "Crashed", "exit code 7")
    assert pools.merged([worker, other, another], [why]) == [other, another, why]
    assert pools.merged([worker], []) == [worker]


def test_what_a_part_that_is_away_does_to_each_pool_is_said_once() -> None:
    store, pod = Finding("session store", Code.STORE_UNAVAILABLE, "refused"), Finding("operator", Code.PODS_MISSING, "1 of 2")
    away, each = Finding("operator", Code.OPERATOR_AWAY, "60 s"), Finding("a/b", "StoreUnavailable", "as its condition says")
    assert pools.merged([store, away], [pod, each]) == [store, away, pod]
    assert pools.merged([], [each]) == [each]


# ---- a pool, by what the control plane says


COUNTS = {"desired_capsules": 2, "live_capsules": 2, "busy_slots": 0, "total_slots": 0, "queue_depth": 0, "sessions": 0, "generation": 1}
NUMBERS = ("slots", "running", "served", "restarts", "rss_bytes", "setup_seconds", "oldest_running_seconds", "age_seconds", "pid")


def workers(*ids: str, **changed: Any) -> list[WorkerInfo]:
    usual = {"incarnation": "x", "state": "backoff", "liveness": "live", "reason": "SetupFailed", "message": "KeyError: 'MODEL'"}
    return [WorkerInfo(**{**usual, "id": each, **dict.fromkeys(NUMBERS, 0), **changed}) for each in ids]


def fleet(found: list[WorkerInfo], reason: str = "Ready", message: str = "") -> list[Finding]:
    available = reason == "Ready"
    info = PoolInfo(name="a/b", available=available, reason=reason, message=message, ready_workers=int(available), **COUNTS)  # type: ignore[arg-type]
    return pools.of_fleet(info, found)


def test_what_keeps_a_pool_from_serving_is_said_once_with_its_traceback_and_what_to_do() -> None:
    said = "KeyError: 'MODEL' (2 of 2 capsules are there, with 0 ready workers); what to do: mend the adapter"
    failing = workers("b-0/0", "b-0/1", "b-1/0", traceback="Traceback ...")
    assert fleet(failing, "SetupFailed", "KeyError: 'MODEL'") == [Finding("a/b", "SetupFailed", said, "Traceback ...")]
    other = workers("b-1/1", reason="Crashed", message="exit code 7")
    assert [each.about for each in fleet([*failing, *other], "SetupFailed", "KeyError: 'MODEL'")] == ["a/b", "b-1/1"]


def test_what_several_workers_of_a_pool_that_serves_have_is_said_of_the_first() -> None:
    (found,) = fleet(workers("b-0/0", "b-0/1", "b-1/0"))
    assert (found.about, found.message) == ("b-0/0", "KeyError: 'MODEL' (and the same of 2 more); what to do: mend the adapter")
    assert len(fleet([*workers("b-0/0"), *workers("b-0/1", message="another")])) == 2


def test_workers_that_are_starting_are_no_alarm_where_others_serve_and_one_where_none_does() -> None:
    starting = [
        *workers("b-0/0", state="starting", reason="Starting", message="setup() has been running for 3 s"),
        *workers("b-0/1", state="starting", reason="Starting", message="setup() has been running for 5 s"),
    ]
    assert {each.severity for each in fleet(starting)} == {"note"}
    (found,) = fleet(starting, "Starting", "setup() has been running for 3 s")
    assert (found.about, found.severity) == ("a/b", "error")
    assert found.message.endswith("what to do: wait; if it stays so, `snakepit logs` of the pool says what it does")


def test_a_worker_that_cant_start_for_want_of_memory_needs_more_of_it() -> None:
    (found,) = fleet(workers("b-0/0", reason="OutOfMemory", message="killed"))
    assert (
        found.message == "killed; what to do: raise the memory limit of the container `worker` in spec.template, or let setup() need less"
    )


@pytest.mark.parametrize("reason", [*sorted(START_FAULTS), "Crashed", "NoCapsule", "NoWorker", "NotForked", "KeeperLost"])
def test_whatever_keeps_workers_from_starting_has_what_to_do(reason: str) -> None:
    for found in (*fleet(workers("b-0/0", reason=reason)), *fleet([], reason, "so")):
        assert re.search(r"; what to do: \S", found.message)


# ---- a cluster


def operator(release: str = "one", *, version: str = "0.4.0", watched: str = "") -> Workload:
    labels = {"component": "operator", "version": version, "instance": release}
    metadata = {"namespace": "system", "labels": {f"app.kubernetes.io/{name}": value for name, value in labels.items()}}
    containers = [{"env": [{"name": "WATCH_NAMESPACES", "value": watched}]}]
    document = {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": {"containers": containers}}}}
    return msgspec.convert({**document, "status": {"readyReplicas": 1}}, Workload)


def in_cluster(**seen: Any) -> list[tuple[str, str]]:
    return [(each.reason, each.message) for each in of_cluster(Cluster("system", "snakepit", **seen), "0.4.0")]


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ("", "", "every namespace"),
        ("", "shop", "namespace shop"),
        ("shop, team", "team,other", "namespace team"),
        ("shop", "team", None),
    ],
)
def test_two_releases_are_wrong_only_where_both_watch(one: str, other: str, where: str | None) -> None:
    own = operator(watched=one)
    found = in_cluster(workloads=(own,), operators=(own, operator("two", watched=other)))
    assert [reason for reason, _ in found] == ([Code.TWO_RELEASES] if where else [])
    assert where is None or f"both watch {where}:" in found[0][1]


@pytest.mark.parametrize(
    ("label", "version", "lacks", "why"),
    [
        ("0.4.0", "0.4.0", (), None),
        ("0.3.0", "0.4.0", (), "is of version 0.3.0, and the operator of 0.4.0"),
        ("", "0.4.0", ("slo",), "lacks spec.slo, which the operator knows"),
        ("", "dev", ("slo", "image"), "lacks spec.image, spec.slo, which the operator knows"),
        ("", "0.3.0", ("slo",), None),
    ],
)
def test_a_definition_is_old_by_its_label_or_by_what_it_lacks(label: str, version: str, lacks: tuple[str, ...], why: str | None) -> None:
    known = {"properties": {"spec": {"properties": {each: {} for each in spec_fields().difference(lacks)}}}}
    versions = [{"name": "v1alpha1", "schema": {"openAPIV3Schema": known}}]
    crd = {"metadata": {"labels": {"app.kubernetes.io/version": label}}, "spec": {"versions": versions}}
    own = operator(version=version)
    found = in_cluster(workloads=(own,), operators=(own,), crd=msgspec.convert(crd, Crd))
    assert [reason for reason, _ in found] == ([Code.CRD_OLD] if why else [])
    assert why is None or why in found[0][1]


def control_plane(replicas: int) -> Workload:
    metadata = {"namespace": "system", "labels": {"app.kubernetes.io/component": "control-plane"}}
    document = {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}, "status": {"readyReplicas": replicas}}
    return msgspec.convert(document, Workload)


def test_that_a_forward_leads_to_one_of_several_replicas_is_a_note() -> None:
    def noted(replicas: int, heard: int) -> list[Finding]:
        return not_heard(Cluster("system", "snakepit", workloads=(operator(), control_plane(replicas))), heard)

    (note,) = noted(3, 1)
    assert (note.reason, note.severity) == (Code.NOT_LOOKED_AT, "note")
    assert note.message.startswith("1 of 3 replicas answered through kubectl's forwards")
    assert noted(1, 1) == noted(3, 3) == noted(3, 0) == []


CALLER = {"namespaceSelector": {"matchLabels": {"snakepit.dev/caller": "true"}}}
CAPSULES = {"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "snakepit.dev/pool", "operator": "Exists"}]}}
OPERATOR = {"podSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}
SHOP = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}


@pytest.mark.parametrize(
    ("peers", "is_said"),
    [
        ([CALLER, CAPSULES, OPERATOR], True),
        ([CALLER, CAPSULES, OPERATOR, SHOP], False),
        ([CALLER, {"namespaceSelector": {"matchLabels": {"team": "web"}}}], True),
        ([CALLER, {"namespaceSelector": {"matchLabels": {"team": "shop"}}}], False),
        ([CALLER, {"namespaceSelector": {"matchLabels": {"team": "shop", "stage": "test"}}}], True),
        ([CALLER, {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}], False),
        ([CALLER, {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}], False),
        ([CALLER, {"ipBlock": {"cidr": "192.0.2.0/24"}}], True),
        ([{"namespaceSelector": {"matchLabels": {"snakepit.dev/caller": "true", "team": "web"}}}], False),
        ([SHOP], False),
        ([], False),
    ],
)
def test_a_namespace_lacks_the_label_only_if_no_peer_lets_it_in(peers: list[dict[str, Any]], is_said: bool) -> None:
    scrapers = {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 7801}]}
    rules = [{"from": peers, "ports": [{"port": 7800}, {"port": 7802}]}, scrapers]
    metadata = {"namespace": "system", "labels": {"app.kubernetes.io/component": "control-plane"}}
    policy = msgspec.convert({"metadata": metadata, "spec": {"ingress": rules}}, Policy)
    labels = {"kubernetes.io/metadata.name": "shop", "team": "shop"}
    caller = msgspec.convert({"metadata": {"name": "shop", "labels": labels}}, Namespace)
    found = in_cluster(policies=(policy,), caller=caller)
    assert [reason for reason, _ in found] == ([Code.NAMESPACE_NOT_LABELLED] if is_said else [])
    assert in_cluster(policies=(policy,)) == []


def pool(*conditions: tuple[str, str, str], generation: int = 1, release: str = "system/snakepit-operator") -> Pool:
    said = [{"type": type_, "status": status, "reason": reason, "message": "so"} for type_, status, reason in conditions]
    status = {"observedGeneration": 1, "release": release, "conditions": said}
    return msgspec.convert({"metadata": {"namespace": "a", "name": "b", "generation": generation}, "status": status}, Pool)


WELL = (("Available", "True", "WorkersReady"), ("Degraded", "False", "AsExpected"), ("SessionStoreReady", "True", "StoreReady"))


def test_a_condition_that_is_as_it_should_be_is_nothing_wrong_and_one_reason_is_said_once() -> None:
    lease = "system/snakepit-operator"
    assert list(conditions.of_pool(pool(*WELL), lease, is_operator_there=True)) == []
    assert list(conditions.of_pool(pool(("Available", "False", "Suspended")), lease, is_operator_there=True)) == []
    twice = pool(("Available", "False", "Unschedulable"), ("Degraded", "True", "Unschedulable"))
    (found,) = conditions.of_pool(twice, lease, is_operator_there=True)
    assert found.message == "so; what to do: ask for less in spec.template, mend its selectors and tolerations, or add a node"
    assert list(conditions.of_pool(twice, lease, is_operator_there=False)) == [], "what nobody writes any more is old"
    (note,) = conditions.of_pool(pool(*WELL, ("Progressing", "False", "Outdated")), lease, is_operator_there=True)
    assert (note.reason, note.severity) == ("Outdated", "note")
    (behind,) = conditions.of_pool(pool(*WELL, generation=3), lease, is_operator_there=True)
    assert "(generation 3), and the operator has carried out generation 1" in behind.message


def test_there_is_advice_for_every_reason_of_the_operator_that_means_something_wrong() -> None:
    fine = {"WorkersReady", "Starting", "Suspended", "ScaledToZero", "SettingsConfirmed", "ReplicaUnknown", "UpToDate", "AsExpected"}
    moves = {"RollingOut", "ScalingUp", "ScalingDown", "StoreReady", "ScaledByDemand", "Drained", "Outdated", "RolloutPaused"}
    # Reasons of deletions and Events, and what the doctor has sentences of its own for.
    elsewhere = {"PodFailed", "PodStuck", "CapsuleLost", "AnotherRelease", "WithinBudget", "TooFewCalls"}
    assert {str(each) for each in Reason} - fine - moves - elsewhere - conditions.ADVICE.keys() == set()


@pytest.mark.parametrize(
    ("reason", "message", "what"),
    [
        ("CrashLoopBackOff", "container worker: started again 3 times (last exit: OOMKilled, code 137)", "raise the memory limit"),
        ("CrashLoopBackOff", "container worker: back-off (last exit: Error, code 1)", "`kubectl logs POD -c worker --previous`"),
        ("CrashLoopBackOff", "container snakepit-agent: back-off (last exit: Error, code 1)", "`kubectl logs POD -c snakepit-agent --prev"),
        ("ImagePullBackOff", "container snakepit-agent: Back-off pulling image", "see to the chart's `agent.image`"),
        ("ErrImagePull", "container snakepit-agent: unauthorized", "see to the chart's `agent.image`, and to its `agent.pullSecrets`"),
        ("InvalidImageName", "container snakepit-agent: must be lowercase", "mend the chart's `agent.image`"),
        ("CreateContainerConfigError", 'container snakepit-agent: secret "key" not found', "make the Secret or ConfigMap in the pool's"),
        ("NewReasonOfKubernetes", "container snakepit-agent: so", "`kubectl describe` of the pool and its pods says more"),
        ("ImagePullBackOff", "container worker: Back-off pulling image", "push the image"),
        ("PodRefused", "something that nobody has thought of", "the API server says why"),
        ("NewReasonOfKubernetes", "so", "`kubectl describe` of the pool and its pods says more"),
    ],
)
def test_advice_is_by_words_of_the_message_before_the_reason(reason: str, message: str, what: str) -> None:
    assert conditions.advice(reason, message).startswith(what)
