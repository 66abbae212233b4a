"""The status is computed whole each time; conditions are what a person reads."""

from __future__ import annotations

import re
from datetime import datetime

import msgspec
import pytest

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit.spec.status import CONDITION_REASON, CONDITION_TYPE
from snakepit_operator.model import Observed, Phase, Plan
from snakepit_operator.status import CONDITIONS, status, word
from support.kstatus import kstatus
from support.operator_world import capsule, fleet, pod, pool
from support.statuses import NOW, conditions, healthy, look


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
    of = pool(replicas=1, autoscaling={"maxReplicas": 2}, slo={"availabilityPercent": 99.9, "latencyMilliseconds": 500})
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


def test_a_capsule_that_the_control_plane_sends_calls_to_counts_as_ready_before_the_kubelet_says_so() -> None:
    starting = pod(0, ready=False)
    found = look(pool(replicas=1), starting, seen=fleet(capsule(starting), ready_workers=1))
    assert conditions(found)["Available"][0] == "True"
    assert found.ready_replicas == 1


def test_the_transition_time_changes_only_with_the_status() -> None:
    of = pool(replicas=1)
    first = look(of, pod(0, reason="ErrImagePull"), seen=fleet(), now=NOW)
    again = msgspec.structs.replace(of, status=first)
    second = look(again, pod(0, reason="ImagePullBackOff"), seen=fleet(), now=NOW + 30)
    third = look(msgspec.structs.replace(of, status=second), pod(0), seen=fleet(), now=NOW + 60)
    times = [next(c for c in each.conditions if c.type == "Degraded").last_transition_time for each in (first, second, third)]
    assert times[0] == times[1] != times[2]


def test_only_capsules_that_are_heard_count_as_available_whatever_workers_they_had() -> None:
    heard, silent = pod(0), pod(1)
    found = look(pool(replicas=2), heard, silent, seen=fleet(capsule(heard), capsule(silent, live=False)))
    assert (found.replicas, found.available_replicas) == (2, 1)
