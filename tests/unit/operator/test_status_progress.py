"""What a pool's status says of its way to another size or template, and since when it has been stuck there."""

from __future__ import annotations

import msgspec
import pytest

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit_operator.model import Plan, Reason
from support.operator_world import START, capsule, fleet, pod, pool
from support.statuses import NOW, conditions, healthy, look


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
