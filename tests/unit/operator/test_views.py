"""Raw pods and fleet answers as the operator reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from snakepit.v1 import fleet_pb2, pool_pb2
from snakepit_operator.model import FleetView, Phase
from snakepit_operator.views import capsules_of, fleet_view, pod_view, with_fault

POOL = "default/digits"


def raw(**status: Any) -> dict[str, Any]:
    labels = {"snakepit.dev/ordinal": "3", "snakepit.dev/template-hash": "abc"}
    metadata = {
        "name": "digits-3-x",
        "uid": "u",
        "creationTimestamp": "2026-11-24T01:00:00Z",
        "labels": labels,
        "annotations": {"snakepit.dev/attempt": "2"},
    }
    return {"metadata": metadata, "spec": {"nodeName": "node-1"}, "status": status}


def waiting(name: str, reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}, **more}


def test_a_ready_pod() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T01:00:07Z"}
    found = pod_view(raw(phase="Running", conditions=[ready]))
    assert (found.ordinal, found.template_hash, found.attempt) == (3, "abc", 2)
    assert found.ready
    assert found.active
    assert found.changed - found.created == 7
    assert found.reason == ""


def by_address(states: Iterable[fleet_pb2.PoolState]) -> dict[str, fleet_pb2.PoolState]:
    return {f"replica-{number}:7801": each for number, each in enumerate(states)}


def counted(since: int, **calls: tuple[int, int]) -> fleet_pb2.PoolState:
    """What a replica says: of each objective the calls that count, and the bad ones of them."""
    found = [
        pool_pb2.Objective(name=name, target_percent=99, calls=all_, bad_calls=bad, since=Timestamp(seconds=since))
        for name, (all_, bad) in calls.items()
    ]
    return fleet_pb2.PoolState(pool=pool_pb2.Pool(name=POOL, objectives=found))


def test_a_budget_is_of_what_all_replicas_have_counted() -> None:
    states = [counted(3600, availability=(150, 1), latency=(40, 1)), counted(0, availability=(50, 0), latency=(9, 0))]
    found = fleet_view(by_address(states), [], [(), ()]).slo
    assert msgspec.to_builtins(found) == {
        "since": "1970-01-01T00:00:00Z",
        "budgetLeftPercent": 50,
        "availability": {"targetPercent": 99, "budgetLeftPercent": 50},
        "latency": {"targetPercent": 99},
    }


def test_ends_of_workers_are_as_each_replica_has_counted_them() -> None:
    states = {address: fleet_pb2.PoolState(ended=ends) for address, ends in (("a:1", {"oom": 4, "crashed": 1}), ("b:1", {}))}
    assert fleet_view(states, [], [(), ()]).ended == {"a:1": {"oom": 4, "crashed": 1}, "b:1": {}}


def test_the_view_of_a_pool_is_no_other_with_each_call_that_counts() -> None:
    one, other = (fleet_view(by_address([counted(0, availability=(calls, 0))]), [], [()]) for calls in (1000, 1001))
    assert one == other
    assert fleet_view(by_address([counted(0)]), [], [()]).slo is None


def test_a_pod_without_any_status_is_pending() -> None:
    assert pod_view(raw()).phase is Phase.PENDING


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_starting_is_no_fault(reason: str) -> None:
    assert not pod_view(raw(containerStatuses=[waiting("worker", reason)])).stuck


@pytest.mark.parametrize(("restarts", "unready", "reason"), [(1, "00", ""), (2, "00", "CrashLoopBackOff"), (2, "59", "")])
def test_a_container_that_runs_again_has_its_fault_unless_it_was_one_crash_or_the_pod_was_ready_since(
    restarts: int, unready: str, reason: str
) -> None:
    ended = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    worker = {"name": "worker", "state": {"running": {"startedAt": "2026-11-24T01:00:30Z"}}, "lastState": ended, "restartCount": restarts}
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": f"2026-11-24T01:00:{unready}Z"}
    assert pod_view(raw(phase="Running", conditions=[ready], containerStatuses=[worker])).reason == reason


def test_a_failed_pod_has_a_reason_even_without_one() -> None:
    ended = {"name": "worker", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}
    found = pod_view(raw(phase="Failed", containerStatuses=[ended]))
    assert found.finished
    assert (found.reason, found.message) == ("Failed", "container worker ended with code 3: Error")


def event(type_: str, reason: str, at: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "reason": reason, "message": f"{reason} said", "lastTimestamp": f"2026-11-24T01:00:{at}Z", **more}


MISSING = event("Warning", "FailedMount", "09")


def test_a_pod_that_a_node_is_creating_is_known_by_its_containers_alone() -> None:
    assert pod_view(raw(phase="Pending", containerStatuses=[waiting("worker", "ContainerCreating")])).creating
    started = {"name": "snakepit-agent", "state": {"running": {}}}
    later = raw(phase="Pending", initContainerStatuses=[started], containerStatuses=[waiting("worker", "PodInitializing")])
    assert not pod_view(later).creating, "an init container of the author may take its time"
    assert not pod_view({**raw(phase="Pending"), "spec": {}}).creating
    assert not pod_view(raw(phase="Pending", containerStatuses=[waiting("worker", "ImagePullBackOff")])).creating


@pytest.mark.parametrize("order", [1, -1])
def test_a_pod_hangs_for_the_reason_of_its_newest_event_if_that_is_a_warning(order: int) -> None:
    pod = pod_view(raw(phase="Pending"))
    found = with_fault(pod, [event("Normal", "Scheduled", "00"), MISSING][::order])
    assert found.stuck
    assert (found.reason, found.message) == ("FailedMount", "FailedMount said")
    assert with_fault(pod, [MISSING, event("Normal", "Pulling", "10")][::order]) == pod, "that fault is over"
    newer = event("Warning", "FailedCreatePodSandBox", "08", series={"lastObservedTime": "2026-11-24T01:00:11.5Z"})
    assert with_fault(pod, [MISSING, newer][::order]).reason == "FailedCreatePodSandBox"
    assert with_fault(pod, []) == pod


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_evicted_pod_keeps_the_kubelets_words(phase: str) -> None:
    said = "The node was low on resource: memory."
    found = pod_view(raw(phase=phase, reason="Evicted", message=said))
    assert (found.reason, found.message) == ("Evicted", said)
    target = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": said}
    found = pod_view(raw(phase=phase, conditions=[target]))
    assert (found.reason, found.message) == ("TerminationByKubelet", said)


def test_a_pod_that_ended_without_a_word_says_how() -> None:
    found = pod_view(raw(phase="Succeeded"))
    assert (found.reason, found.message) == ("Completed", "the pod ended (Completed)")


def capsule(liveness: int, **fields: Any) -> fleet_pb2.CapsuleState:
    return fleet_pb2.CapsuleState(**{"name": "a", "liveness": liveness, **fields})


def answer(
    *capsules: fleet_pb2.CapsuleState, store: bool = True, note: str = "", demand: fleet_pb2.Demand | None = None, **pool: Any
) -> fleet_pb2.SyncResponse:
    state = fleet_pb2.PoolState(pool=pool_pb2.Pool(name=POOL, **pool), capsules=capsules, demand=demand)
    return fleet_pb2.SyncResponse(replica="r", session_store_ready=store, session_store_message=note if store else "refused", pools=[state])


def view(*answers: fleet_pb2.SyncResponse) -> FleetView:
    states = [state for each in answers for state in each.pools]
    return fleet_view(by_address(states), answers, map(capsules_of, states))


def test_queues_of_replicas_add_up_and_slots_do_not() -> None:
    found = view(answer(queue_depth=2, busy_slots=3, total_slots=4), answer(queue_depth=5, busy_slots=3, total_slots=4))
    assert (found.queue_depth, found.busy_slots, found.total_slots) == (7, 3, 4)


def test_one_replica_that_can_serve_is_enough_to_be_available() -> None:
    assert view(answer(available=False), answer(available=True, ready_workers=1)).available


def test_a_capsule_is_lost_as_soon_as_one_replica_says_so_unless_it_lives_again() -> None:
    """The store has agreed, so that it is fenced for good. A replica that is cut off says for some time what was so before."""
    lost, live = (capsule(each, incarnation="x") for each in (pool_pb2.LIVENESS_LOST, pool_pb2.LIVENESS_LIVE))
    later = capsule(pool_pb2.LIVENESS_LIVE, incarnation="y")
    assert view(answer(lost), answer(lost)).capsules["a"].lost
    assert view(answer(lost), answer(live)).capsules["a"].lost
    assert view(answer(live), answer(lost)).capsules["a"].lost
    assert not view(answer(lost, later), answer(live)).capsules["a"].lost


def test_a_worker_in_backoff_is_the_capsules_failure() -> None:
    worker = pool_pb2.Worker(state=pool_pb2.WORKER_STATE_BACKOFF, reason="SetupFailed", message="boom")
    assert view(answer(capsule(pool_pb2.LIVENESS_LIVE, workers=[worker]))).capsules["a"].failure == ("SetupFailed", "boom")


@pytest.mark.parametrize(("reason", "expected"), [("ImportFailed", ("ImportFailed", "boom")), ("Crashed", None), ("Starting", None)])
def test_a_worker_that_tries_to_start_again_has_its_fault_until_it_is_ready(reason: str, expected: tuple[str, str] | None) -> None:
    worker = pool_pb2.Worker(state=pool_pb2.WORKER_STATE_STARTING, reason=reason, message="boom")
    assert view(answer(capsule(pool_pb2.LIVENESS_LIVE, workers=[worker]))).capsules["a"].failure == expected


def test_a_store_that_any_replica_cannot_reach_is_not_ready() -> None:
    found = view(answer(), answer(store=False))
    assert (found.store_ready, found.store_message) == (False, "refused")


def test_what_a_store_does_not_promise_is_said_unless_it_is_away() -> None:
    assert view(answer(note="no volume"), answer(note="no volume")).store_message == "no volume"
    assert view(answer(note="no volume"), answer(store=False)).store_message == "refused"
    assert fleet_view({}, [], []).store_message == ""


def test_silence_that_one_replica_alone_hears_is_that_replicas_own() -> None:
    silent, well = answer(), answer()
    silent.pools[0].silence_held = True
    assert view(silent, silent).silence_held
    assert not view(silent, well).silence_held


def test_an_unknown_pool_is_simply_not_available() -> None:
    assert fleet_view({}, [answer()], []) == FleetView()


def test_counts_of_recycled_workers_are_those_of_the_replica_that_has_heard_most() -> None:
    behind = answer(capsule(pool_pb2.LIVENESS_LIVE, incarnation="x", recycled={"calls": 2}))
    ahead = answer(capsule(pool_pb2.LIVENESS_LIVE, incarnation="x", recycled={"calls": 3, "age": 1}))
    for answers in ([behind, ahead], [ahead, behind]):
        assert view(*answers).capsules["a"].recycled == {"calls": 3, "age": 1}


def test_a_worker_that_can_t_be_recycled_is_a_fault_although_it_serves() -> None:
    worker = pool_pb2.Worker(state=pool_pb2.WORKER_STATE_READY, reason="SuccessorFailed", message="goes on", traceback="Traceback")
    found = view(answer(capsule(pool_pb2.LIVENESS_LIVE, workers=[worker], ready_workers=1))).capsules["a"]
    assert (found.failure, found.traceback, found.ready_workers) == (("SuccessorFailed", "goes on"), "Traceback", 1)


def test_a_capsule_that_reaches_no_lane_port_says_so_unless_another_replica_has_its_workers() -> None:
    without = capsule(pool_pb2.LIVENESS_SUSPECT, problem="its agent can't reach port 7802")
    assert view(answer(without)).capsules["a"].failure == ("LaneUnreachable", "its agent can't reach port 7802")
    serving = capsule(pool_pb2.LIVENESS_LIVE, ready_workers=1)
    assert view(answer(without), answer(serving)).capsules["a"].failure is None


def demand(idle: float) -> fleet_pb2.Demand:
    return fleet_pb2.Demand(idle_seconds=idle)


def test_a_pool_is_in_use_while_calls_wait_or_run_or_a_session_has_its_worker_there() -> None:
    live = pool_pb2.LIVENESS_LIVE
    assert not view(answer()).in_use
    assert view(answer(queue_depth=1), answer()).in_use
    assert view(answer(), answer(busy_slots=1)).in_use
    assert view(answer(capsule(live, running=1), demand=demand(100))).in_use
    assert view(answer(capsule(live, sessions=1), demand=demand(100))).in_use
    assert not view(answer(capsule(live), sessions=5, demand=demand(100))).in_use, "a session whose worker has gone needs none"


def test_a_pool_is_in_use_for_half_a_minute_after_a_call_unless_there_is_no_capsule() -> None:
    """A replica that has just started counts from then, and must not wake a pool that is at zero."""
    live = pool_pb2.LIVENESS_LIVE
    assert view(answer(capsule(live), demand=demand(100)), answer(demand=demand(29))).in_use
    assert not view(answer(capsule(live), demand=demand(31))).in_use
    assert not view(answer(demand=demand(0))).in_use
    assert not view(answer(capsule(pool_pb2.LIVENESS_LOST), demand=demand(0))).in_use
