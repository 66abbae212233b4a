"""What an operator's metrics say of a pool's status, and of what was planned."""

from __future__ import annotations

from snakepit.spec.status import Condition, SnakePoolStatus
from snakepit_operator.model import Creation, Deletion, Plan
from snakepit_operator.telemetry import Telemetry, pool_readings
from support.metrics import scraped

STATUS = SnakePoolStatus(
    replicas=3,
    ready_replicas=2,
    updated_replicas=1,
    desired_replicas=4,
    conditions=(Condition(type="Ready", status="False", reason="Starting", message="", last_transition_time="2026-11-29T00:00:00Z"),),
)


async def values(telemetry: Telemetry) -> dict[str, float]:
    found = {}
    for family in await scraped(telemetry.registry.application()):
        for sample in family.samples:
            found[" ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))])] = sample.value
    return found


def test_counts_that_a_status_does_not_know_are_left_out() -> None:
    found = {(row.name, *labels): value for row, labels, value in pool_readings("a/b", STATUS)}
    assert found == {
        ("snakepit_pool_capsules", "a/b", "all"): 3,
        ("snakepit_pool_capsules", "a/b", "ready"): 2,
        ("snakepit_pool_capsules", "a/b", "updated"): 1,
        ("snakepit_pool_desired_capsules", "a/b"): 4,
        ("snakepit_pool_condition", "a/b", "Ready", "True"): 0,
        ("snakepit_pool_condition", "a/b", "Ready", "False"): 1,
        ("snakepit_pool_condition", "a/b", "Ready", "Unknown"): 0,
    }


async def test_what_is_planned_and_asked_for_adds_up() -> None:
    telemetry = Telemetry()
    creation, deletion = Creation("a-0", 0, "x"), Deletion("a-1", "uid", "ScalingDown")
    telemetry.decided(Plan(creations=(creation, creation), deletions=(deletion,)))
    telemetry.decided(Plan(creations=(creation,)))
    telemetry.requested("list", "pods", 200, 0.01)
    telemetry.requested("list", "pods", 0, 10.0)
    found = await values(telemetry)
    assert found["snakepit_operator_planned_actions_total create"] == 3
    assert found["snakepit_operator_planned_actions_total delete"] == 1
    assert found["snakepit_operator_api_requests_total 200 pods list"] == 1
    assert found["snakepit_operator_api_requests_total none pods list"] == 1
    assert found["snakepit_operator_api_request_duration_seconds_count pods list"] == 2
