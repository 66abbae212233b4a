"""The status is computed whole each time; conditions are what a person reads."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec
import pytest

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit.spec.status import CONDITION_REASON, CONDITION_TYPE, ObjectiveStatus, SloStatus
from snakepit_operator.autoscale import Recommendation
from snakepit_operator.events import events_of
from snakepit_operator.model import FleetView, Observed, Outcome, Phase, Plan, Reason
from snakepit_operator.status import CONDITIONS, status, word
from support.kstatus import kstatus
from support.operator_world import START, capsule, fleet, pod, pool

NOW = START + 60


def conditions(of: SnakePoolStatus) -> dict[str, tuple[str, str, str]]:
    return {each.type: (each.status, each.reason, each.message) for each in of.conditions}


def look(of: SnakePool, *pods: object, seen: FleetView | None = None, now: float = NOW, made: Plan | None = None) -> SnakePoolStatus:
    return status(of, Observed(tuple(pods), seen), made or Plan(), now)  # type: ignore[arg-type]


def healthy() -> SnakePoolStatus:
    first, second = pod(0), pod(1)
    seen = fleet(capsule(first), capsule(second), ready_workers=2, total_slots=2, busy_slots=1, queue_depth=3, sessions=4)
    return look(pool(replicas=2), first, second, seen=seen)


def test_a_healthy_pool() -> None:
    found = conditions(healthy())
    assert found["Available"] == ("True", "WorkersReady", "2 workers ready, 1 of 2 slots busy")
    assert found["Progressing"][:2] == ("False", "UpToDate")
    assert found["Degraded"][:2] == ("False", "AsExpected")
    assert found["SessionStoreReady"][:2] == ("True", "StoreReady")


def told(of: SnakePool, found: SnakePoolStatus) -> str:
    """What those say who wait by kstatus."""
    raw = {"generation": of.metadata.generation}
    return kstatus({"metadata": raw, "status": {**msgspec.to_builtins(found), "conditions": msgspec.to_builtins(list(found.conditions))}})


def test_ready_says_it_all_for_who_waits_for_one_condition() -> None:
    of, first = pool(replicas=1), pod(0)
    well = look(of, first, seen=fleet(capsule(first), ready_workers=1))
    assert conditions(well)["Ready"][:2] == ("True", "Ready")
    assert told(of, well) == "Current"
    starting = look(of, pod(0, ready=False, phase=Phase.PENDING), seen=fleet())
    assert conditions(starting)["Ready"][:2] == ("False", "Starting")
    assert told(of, starting) == "InProgress"
    edited = msgspec.structs.replace(of, metadata=msgspec.structs.replace(of.metadata, generation=of.metadata.generation + 1))
    assert told(edited, well) == "InProgress"
    alone = look(of, first)
    assert conditions(alone)["Ready"][:2] == ("Unknown", "ControlPlaneUnknown")
    assert told(of, alone) == "InProgress"


def test_a_pool_is_ready_when_it_is_as_small_as_it_was_asked_to_be() -> None:
    for of in (pool(replicas=2, suspended=True), pool(replicas=0)):
        found = look(of, seen=fleet())
        assert conditions(found)["Ready"] == ("True", found.reason, "no capsules are wanted")
        assert told(of, found) == "Current"


def test_what_nobody_but_a_person_gets_on_is_stalled() -> None:
    of, serving = pool(replicas=1), pod(0)
    seen = fleet(capsule(serving), ready_workers=1)
    wrong = status(of, Observed((serving,), seen), Plan(), NOW, problem=("InvalidSpec", "spec.template.metadata.name can't be set"))
    assert conditions(wrong)["Stalled"] == ("True", "InvalidSpec", "spec.template.metadata.name can't be set")
    assert told(of, wrong) == "Failed"
    refused = status(of, Observed((serving,), seen), Plan(), NOW, problem=("PodRefused", "exceeded quota"))
    assert "Stalled" not in conditions(refused), "a quota may have room in a moment"
    assert told(of, refused) == "InProgress"


OBJECTIVES = {"availabilityPercent": 99.9, "latencyMilliseconds": 500}


def promised(availability: int | None, latency: int | None) -> SnakePoolStatus:
    """Of a pool with two objectives, with so much left of their budgets."""
    left = {"availability": (99.9, availability), "latency": (99.0, latency)}
    found = {name: ObjectiveStatus(target_percent=target, budget_left_percent=each) for name, (target, each) in left.items()}
    return look(pool(replicas=0, slo=OBJECTIVES), seen=fleet(slo=SloStatus(since="2026-11-24T01:00:00Z", **found)))


@pytest.mark.parametrize(
    ("availability", "latency", "expected"),
    [
        (12, 0, ("True", "WithinBudget", "no more calls were bad than the objectives allow")),
        (None, 3, ("True", "WithinBudget", "no more calls were bad than the objectives allow")),
        (None, None, ("Unknown", "TooFewCalls", "the objectives allow not one bad call of so few")),
        (-1, 3, ("False", "BudgetSpent", "more calls were bad than the objective allows: availability (99.9 %); see status.slo")),
        (
            -1,
            -100,
            (
                "False",
                "BudgetSpent",
                "more calls were bad than the objective allows: availability (99.9 %), latency (99 %); see status.slo",
            ),
        ),
    ],
)
def test_a_pool_with_objectives_says_whether_it_meets_them(
    availability: int | None, latency: int | None, expected: tuple[str, str, str]
) -> None:
    found = promised(availability, latency)
    assert conditions(found)["ObjectivesMet"] == expected
    assert found.slo is not None
    assert found.slo.availability is not None
    assert found.slo.availability.budget_left_percent == availability
    assert conditions(found)["Ready"][0] == "True", "it serves calls, whatever it has promised"


def test_what_is_left_of_budgets_stays_as_it_was_while_a_replica_is_unheard_that_has_counted_a_part() -> None:
    spent, partly = promised(-8, 3), SloStatus(since="2026-11-27T01:00:00Z", availability=ObjectiveStatus(target_percent=99.9))
    of = msgspec.structs.replace(pool(replicas=0, slo=OBJECTIVES), status=msgspec.convert(msgspec.to_builtins(spent), SnakePoolStatus))
    unheard = look(of, seen=fleet(slo=partly, unheard=1))
    assert unheard.slo == spent.slo
    assert conditions(unheard)["ObjectivesMet"] == conditions(spent)["ObjectivesMet"]
    assert [each.reason for each in events_of(spent, unheard, Outcome())] == ["ReplicaUnknown"]
    assert look(of, seen=fleet(slo=partly)).slo == partly, "all are heard again, and one has started anew"


@pytest.mark.parametrize("slo", [{**OBJECTIVES, "availabilityPercent": 99}, {"latencyMilliseconds": 500}])
def test_what_is_left_of_the_budgets_of_other_objectives_or_was_never_said_is_not_kept(slo: dict[str, Any]) -> None:
    partly = SloStatus(since="2026-11-27T01:00:00Z")
    other = msgspec.structs.replace(pool(replicas=0, slo=slo), status=promised(-8, 3))
    for of in (other, pool(replicas=0, slo=OBJECTIVES)):
        assert look(of, seen=fleet(slo=partly, unheard=1)).slo == partly
    assert look(msgspec.structs.replace(pool(replicas=0), status=promised(-8, 3)), seen=fleet(unheard=1)).slo is None


def test_nothing_is_said_of_objectives_where_there_are_none_or_nobody_counts() -> None:
    seen = fleet(slo=SloStatus(since="2026-11-24T01:00:00Z"))
    assert "ObjectivesMet" not in conditions(look(pool(replicas=0), seen=seen))
    assert look(pool(replicas=0), seen=seen).slo is None
    assert conditions(look(pool(replicas=0, slo=OBJECTIVES)))["ObjectivesMet"][:2] == ("Unknown", "ControlPlaneUnknown")
    assert conditions(look(pool(replicas=0, slo=OBJECTIVES), seen=fleet()))["ObjectivesMet"][1] == "TooFewCalls"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("ImagePullBackOff", "ImagePullBackOff"),
        ("not a word", "notaword"),
        ("1st", "st"),
        ("", "Unknown"),
        ("..", "Unknown"),
        ("Ends,", "Ends"),
        ("x" * 2000, "x" * 1024),
    ],
)
def test_a_condition_has_a_reason_that_the_api_server_takes_whatever_a_pod_says(reason: str, expected: str) -> None:
    assert word(reason) == expected
    assert re.fullmatch(CONDITION_REASON, expected)


def test_conditions_are_to_the_letter_of_the_api_conventions() -> None:
    of = pool(replicas=1, autoscaling={"maxReplicas": 2}, slo=OBJECTIVES)
    stuck = pod(0, ready=False, reason="Some weird: reason!", message="x" * 50_000)
    for found in (look(of), look(of, stuck, seen=fleet())):
        for each in found.conditions:
            assert re.fullmatch(CONDITION_TYPE, each.type)
            assert re.fullmatch(CONDITION_REASON, each.reason)
            assert len(each.message) <= 32_768
            assert each.observed_generation == of.metadata.generation
            assert datetime.fromisoformat(each.last_transition_time).tzinfo is not None
        assert len({each.type for each in found.conditions}) == len(found.conditions)
        assert {each.type for each in found.conditions} >= set(CONDITIONS) - {"Stalled"}
        assert {each.type for each in found.conditions} <= set(CONDITIONS)


def test_the_counts() -> None:
    found = healthy()
    assert (found.replicas, found.ready_replicas, found.updated_replicas, found.available_replicas) == (2, 2, 2, 2)
    assert (found.workers, found.busy_slots, found.total_slots, found.queue_depth, found.sessions) == (2, 1, 2, 3, 4)
    assert (found.desired_replicas, found.observed_generation, found.reason) == (2, 3, "Ready")
    assert found.selector == "snakepit.dev/pool=digits"


def test_without_the_control_plane_availability_is_unknown() -> None:
    found = look(pool(replicas=1), pod(0))
    assert conditions(found)["Available"][:2] == ("Unknown", "ControlPlaneUnknown")
    assert conditions(found)["SessionStoreReady"][:2] == ("Unknown", "ControlPlaneUnknown")
    assert found.reason == "ControlPlaneUnknown"


def test_ready_pods_alone_are_not_available() -> None:
    found = conditions(look(pool(replicas=1), pod(0), seen=fleet(message="no worker has linked yet")))
    assert found["Available"] == ("False", "Starting", "no worker has linked yet")


def test_several_stuck_pods_are_one_message() -> None:
    stuck = [pod(number, reason="Unschedulable", message="0/2 nodes are available") for number in range(3)]
    found = conditions(look(pool(replicas=3), *stuck, seen=fleet()))
    assert found["Degraded"][2] == f"pod {stuck[0].name} (and 2 more): 0/2 nodes are available"
    assert found["Available"][:2] == ("False", "Unschedulable")


def test_a_worker_that_cannot_start_degrades_with_its_error() -> None:
    running = pod(0, ready=False)
    failing = capsule(running, ready_workers=0, failure=("SetupFailed", "ModuleNotFoundError: No module named 'sklearn'"))
    found = conditions(look(pool(replicas=1), running, seen=fleet(failing, available=False)))
    assert found["Degraded"] == ("True", "SetupFailed", f"a worker of {running.name}: ModuleNotFoundError: No module named 'sklearn'")


def test_the_traceback_of_a_worker_that_cannot_start_follows_its_error() -> None:
    running = pod(0, ready=False)
    text = 'Traceback (most recent call last):\n  File "tools.py", line 3, in setup\nRuntimeError: no model'
    failing = capsule(running, ready_workers=0, failure=("SetupFailed", "RuntimeError: no model"), traceback=text)
    _, _, message = conditions(look(pool(replicas=1), running, seen=fleet(failing, available=False)))["Degraded"]
    assert message == f"a worker of {running.name}: RuntimeError: no model\n{text}"


def test_a_pod_that_cannot_be_made_says_why() -> None:
    found = status(pool(replicas=1), Observed((), fleet()), Plan(), NOW, ("ImageMissing", "set spec.image"))
    assert conditions(found)["Degraded"] == ("True", "ImageMissing", "set spec.image")
    assert found.reason == "ImageMissing"


def test_most_capsules_silent_at_once_is_said_though_calls_can_be_served() -> None:
    found = conditions(look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), silence_held=True)))
    assert found["Available"][0] == "True"
    assert found["Degraded"][:2] == ("True", "CapsulesSilent")
    assert "none is declared lost for it" in found["Degraded"][2]


@pytest.mark.parametrize(("spec", "reason"), [({"replicas": 0}, "ScaledToZero"), ({"suspended": True}, "Suspended")])
def test_nothing_wanted_is_not_degraded(spec: dict[str, object], reason: str) -> None:
    found = look(pool(**spec), seen=fleet())
    assert conditions(found)["Available"][:2] == ("False", reason)
    assert conditions(found)["Degraded"][0] == "False"
    assert found.reason == reason


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ([pod(0)], "ScalingUp"),
        ([pod(0), pod(1), pod(2)], "ScalingDown"),
        ([pod(0), pod(1, template_hash="old")], "RollingOut"),
    ],
    ids=["too few", "too many", "an old one"],
)
def test_progress_has_a_reason(pods: list[object], reason: str) -> None:
    assert conditions(look(pool(replicas=2), *pods, seen=fleet()))["Progressing"][:2] == ("True", reason)


def test_a_rollout_without_progress_is_reported_after_its_deadline() -> None:
    of, waiting = pool(replicas=1), pod(0, ready=False)
    began = look(of, waiting, seen=fleet(), now=START)
    before, late = (conditions(look(after(began, of), waiting, seen=fleet(), now=START + age)) for age in (599, 601))
    assert before["Degraded"][0] == "False"
    assert late["Progressing"][:2] == ("False", "ProgressDeadlineExceeded")
    assert late["Degraded"][:2] == ("True", "ProgressDeadlineExceeded")


def after(before: SnakePoolStatus, of: SnakePool) -> SnakePool:
    return msgspec.structs.replace(of, status=before)


def test_the_progress_clock_starts_when_progress_begins_however_old_the_other_pods_are() -> None:
    of, first, second = pool(replicas=2), pod(0), pod(1)
    old, seen = START + 10_000, fleet(capsule(first), capsule(second), ready_workers=2)
    settled = look(of, first, second, seen=seen, now=old)
    lost = look(after(settled, of), first, seen=fleet(capsule(first), ready_workers=1), now=old + 1)
    assert conditions(lost)["Progressing"][:2] == ("True", "ScalingUp")
    assert conditions(lost)["Degraded"][0] == "False"
    for age, late in ((600, False), (602, True)):
        later = look(after(lost, of), first, seen=fleet(capsule(first), ready_workers=1), now=old + 1 + age)
        assert (conditions(later)["Progressing"][1] == "ProgressDeadlineExceeded") is late


def test_what_was_given_up_stays_given_up_until_something_moves_or_the_spec_is_another() -> None:
    of, waiting = pool(replicas=1), pod(0, ready=False)
    gave_up = look(after(look(of, waiting, seen=fleet(), now=START), of), waiting, seen=fleet(), now=START + 601)
    assert conditions(look(after(gave_up, of), waiting, seen=fleet(), now=START + 700))["Progressing"][1] == "ProgressDeadlineExceeded"
    moved = pod(0, ready=False, changed=START + 690)
    assert conditions(look(after(gave_up, of), moved, seen=fleet(), now=START + 700))["Progressing"][1] == "ScalingUp"
    edited = msgspec.structs.replace(of, metadata=msgspec.structs.replace(of.metadata, generation=4))
    assert conditions(look(after(gave_up, edited), waiting, seen=fleet(), now=START + 700))["Progressing"][1] == "ScalingUp"


def test_a_pool_whose_pods_can_never_be_made_runs_out_of_time_too() -> None:
    of = pool(replicas=1)
    began = look(of, seen=fleet(), now=NOW)
    assert conditions(look(after(began, of), seen=fleet(), now=NOW + 601))["Progressing"][1] == "ProgressDeadlineExceeded"


def test_a_capsule_that_the_control_plane_sends_calls_to_counts_as_ready_before_the_kubelet_says_so() -> None:
    starting = pod(0, ready=False)
    found = look(pool(replicas=1), starting, seen=fleet(capsule(starting), ready_workers=1))
    assert conditions(found)["Available"][0] == "True"
    assert found.ready_replicas == 1


def test_capsules_with_an_agent_of_before_an_upgrade_are_counted_and_the_way_out_is_said() -> None:
    first, second = pod(0), pod(1, outdated=True)
    found = look(pool(replicas=2), first, second, seen=fleet(capsule(first), capsule(second), ready_workers=2))
    _, reason, message = conditions(found)["Progressing"]
    assert found.outdated_replicas == 1
    assert reason == "Outdated"
    assert "1 capsule began with another agent image" in message
    assert "snakepit.dev/restartedAt" in message
    assert found.reason == "Ready", "it serves as well as before"
    assert healthy().outdated_replicas == 0


def test_a_paused_rollout_says_so() -> None:
    found = conditions(look(pool(replicas=1, rollout={"paused": True}), pod(0, template_hash="old"), seen=fleet()))
    assert found["Progressing"][:2] == ("False", "RolloutPaused")


def test_a_held_scale_down_says_what_it_waits_for() -> None:
    found = conditions(look(pool(replicas=0), pod(0), made=Plan(held=Reason.CONTROL_PLANE_UNKNOWN)))
    assert found["Progressing"][:2] == ("Unknown", "ControlPlaneUnknown")


def scaled(advice: Recommendation | None) -> SnakePoolStatus:
    first, second = pod(0), pod(1)
    seen = fleet(capsule(first), capsule(second), available=True, ready_workers=2, total_slots=2)
    of = pool(replicas=2, autoscaling={"minReplicas": 1, "maxReplicas": 2})
    return status(of, Observed((first, second), seen), Plan(), NOW, advice=advice)


def test_an_autoscaled_pool_says_why_it_has_the_size_that_it_has_and_that_replicas_is_ignored() -> None:
    found = scaled(Recommendation(2, "2 capsules of 1 slot: 1.0 calls/s"))
    said = "2 capsules of 1 slot: 1.0 calls/s; spec.replicas is ignored"
    assert conditions(found)["AutoscalingActive"] == ("True", "ScaledByDemand", said)
    assert (found.reason, found.recommended_replicas, found.recommendation) == ("Ready", 2, "2 capsules of 1 slot: 1.0 calls/s")


def test_a_pool_that_is_larger_than_its_demand_needs_says_until_when() -> None:
    said = conditions(scaled(Recommendation(1, "1 capsule", hold_seconds=20.2)))["AutoscalingActive"][2]
    assert said == "1 capsule; 2 capsules for now: down after 20 s of less, while every replica is heard; spec.replicas is ignored"


def test_an_idle_pool_that_keeps_its_last_capsule_says_for_whom() -> None:
    said = conditions(scaled(Recommendation(0, "0 capsules: no call for 300 s", hold_seconds=20)))["AutoscalingActive"][2]
    now = "2 capsules for now: down after 20 s of less, while every replica is heard, and to 0 when no session has its worker there"
    assert said == f"0 capsules: no call for 300 s; {now}; spec.replicas is ignored"


def test_a_pool_that_would_be_larger_without_its_bound_says_so_in_the_one_word() -> None:
    found = scaled(Recommendation(2, "2 capsules, which is 9", is_limited=True))
    assert conditions(found)["AutoscalingActive"][:2] == ("True", "ScalingLimited")
    assert found.reason == "ScalingLimited"


def test_autoscaling_is_unknown_while_nothing_is_known_of_the_demand_and_no_condition_without_it() -> None:
    said = "nothing is known of the demand: the pool keeps 2 capsules"
    assert conditions(scaled(None))["AutoscalingActive"] == ("Unknown", "ControlPlaneUnknown", said)
    assert "AutoscalingActive" not in conditions(healthy())


def test_what_the_demand_needs_is_told_without_autoscaling_too() -> None:
    one = pod(0)
    found = status(pool(replicas=1), Observed((one,), fleet(capsule(one))), Plan(), NOW, advice=Recommendation(3, "why"))
    assert (found.recommended_replicas, found.recommendation, found.desired_replicas) == (3, "why", 1)


def test_a_store_that_is_away_is_said() -> None:
    found = conditions(look(pool(), pod(0), seen=fleet(store_ready=False, store_message="connection refused")))
    said = "the session store can't be used (connection refused); calls without a session go on"
    assert found["SessionStoreReady"] == ("False", "StoreUnavailable", said)


def test_what_a_store_does_not_promise_is_said_while_all_is_well() -> None:
    found = conditions(look(pool(), pod(0), seen=fleet(store_message="they vanish with it")))
    assert found["SessionStoreReady"] == ("True", "StoreReady", "sessions can be read and written; they vanish with it")


def test_a_store_that_is_away_is_the_one_word_of_a_pool_that_is_available_all_the_same() -> None:
    away = {"store_ready": False, "ready_workers": 1}
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), **away))
    assert conditions(found)["Available"][0] == "True"
    assert found.reason == "StoreUnavailable"
    scaling = look(pool(replicas=2), pod(0), seen=fleet(capsule(pod(0)), **away))
    assert (conditions(scaling)["Progressing"][1], scaling.reason) == ("ScalingUp", "StoreUnavailable")
    assert look(pool(suspended=True), seen=fleet(**away)).reason == "Suspended"


def test_settings_that_every_replica_has_confirmed_are_synced() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), held_generation=3))
    assert conditions(found)["Synced"] == ("True", "SettingsConfirmed", "every control-plane replica holds generation 3")
    assert found.synced_generation == 3


def test_a_pool_is_suspended_only_when_every_replica_that_was_heard_has_confirmed_it() -> None:
    pending = look(pool(suspended=True), seen=fleet(behind=1, held_generation=2))
    assert conditions(pending)["Synced"][:2] == ("False", "SettingsPending")
    assert conditions(pending)["Available"][1] == "SettingsPending"
    assert "1 control-plane replica without generation 3" in conditions(pending)["Synced"][2]
    assert (pending.reason, pending.synced_generation) == ("SettingsPending", 2)
    assert look(pool(suspended=True), seen=fleet(held_generation=3)).reason == "Suspended"


def test_settings_that_are_not_confirmed_are_the_one_word_of_a_pool_that_serves() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), behind=2))
    assert conditions(found)["Available"][0] == "True"
    assert found.reason == "SettingsPending"


def test_settings_that_a_replica_can_not_take_are_told_with_its_words() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), behind=1, refused="call.new: unknown"))
    assert conditions(found)["Synced"] == ("False", "SettingsRefused", "1 control-plane replica without generation 3: call.new: unknown")


def test_a_replica_that_was_not_heard_yet_leaves_it_open_whether_all_have_the_settings() -> None:
    found = look(pool(replicas=1), pod(0), seen=fleet(capsule(pod(0)), unheard=1, held_generation=3))
    assert conditions(found)["Synced"][:2] == ("Unknown", "ReplicaUnknown")
    assert found.reason == "Ready"
    assert conditions(look(pool(replicas=1), pod(0)))["Synced"][:2] == ("Unknown", "ControlPlaneUnknown")


def test_the_transition_time_changes_only_with_the_status() -> None:
    of = pool(replicas=1)
    first = look(of, pod(0, reason="ErrImagePull"), seen=fleet(), now=NOW)
    again = msgspec.structs.replace(of, status=first)
    second = look(again, pod(0, reason="ImagePullBackOff"), seen=fleet(), now=NOW + 30)
    third = look(msgspec.structs.replace(of, status=second), pod(0), seen=fleet(), now=NOW + 60)
    times = [next(c for c in each.conditions if c.type == "Degraded").last_transition_time for each in (first, second, third)]
    assert times[0] == times[1] != times[2]


@pytest.mark.parametrize(("mark", "reason"), [(0, "StoreReady"), (80, "SessionsNearlyFull"), (100, "SessionsFull")])
def test_how_full_the_sessions_are_is_told_beside_the_store(mark: int, reason: str) -> None:
    seen = fleet(capsule(pod(0)), ready_workers=1, total_slots=1, sessions_mark=mark)
    finding = conditions(look(pool(replicas=1), pod(0), seen=seen))["SessionStoreReady"]
    assert finding[:2] == ("True", reason)
    assert ("10000" in finding[2]) == bool(mark)


def test_only_capsules_that_are_heard_count_as_available_whatever_workers_they_had() -> None:
    heard, silent = pod(0), pod(1)
    found = look(pool(replicas=2), heard, silent, seen=fleet(capsule(heard), capsule(silent, live=False)))
    assert (found.replicas, found.available_replicas) == (2, 1)
