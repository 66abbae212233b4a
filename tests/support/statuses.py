"""The status that the operator makes of a pool, as tests read it."""

from __future__ import annotations

from snakepit.spec import SnakePool, SnakePoolStatus
from snakepit_operator.model import FleetView, Observed, Plan
from snakepit_operator.status import status

from .operator_world import START, capsule, fleet, pod, pool

NOW = START + 60


def conditions(of: SnakePoolStatus) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of each, by its type."""
    return {each.type: (each.status, each.reason, each.message) for each in of.conditions}


def look(of: SnakePool, *pods: object, seen: FleetView | None = None, now: float = NOW, made: Plan | None = None) -> SnakePoolStatus:
    return status(of, Observed(tuple(pods), seen), made or Plan(), now)  # type: ignore[arg-type]


def healthy() -> SnakePoolStatus:
    first, second = pod(0), pod(1)
    seen = fleet(capsule(first), capsule(second), ready_workers=2, total_slots=2, busy_slots=1, queue_depth=3, sessions=4)
    return look(pool(replicas=2), first, second, seen=seen)
