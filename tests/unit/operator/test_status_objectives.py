"""What a pool's status says of its objectives: whether they are met, and what is left of their budgets."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from snakepit.spec import SnakePoolStatus
from snakepit.spec.status import ObjectiveStatus, SloStatus
from snakepit_operator.events import events_of
from snakepit_operator.model import Outcome
from support.operator_world import fleet, pool
from support.statuses import conditions, look

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
