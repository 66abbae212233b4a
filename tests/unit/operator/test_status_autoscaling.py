"""What a pool's status says of the size that its demand needs."""

from __future__ import annotations

from snakepit.spec import SnakePoolStatus
from snakepit_operator.autoscale import Recommendation
from snakepit_operator.model import Observed, Plan
from snakepit_operator.status import status
from support.operator_world import capsule, fleet, pod, pool
from support.statuses import NOW, conditions, healthy


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
