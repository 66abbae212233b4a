"""Pools that size themselves, against the HorizontalPodAutoscaler, KEDA and Ray Serve: simulated calls, so the same on every machine.

`docs/autoscaling.md` has the same figures in one table, and how they are made. A call is late that waited for more than 50 ms, or failed.
"""

from __future__ import annotations

from tests.bench.rows import Row, Target
from tests.simulation.autoscaling.judgement import OURS, judge
from tests.simulation.autoscaling.pool import Outcome


async def rows() -> list[Row]:
    return [row for trace, outcomes in judge().items() for name in outcomes if name != OURS for row in _pair(trace, name, outcomes)]


def _pair(trace: str, name: str, outcomes: dict[str, Outcome]) -> list[Row]:
    """Both columns. What is saved in one may cost in the other, so that neither has to be the better one: none may be far worse."""
    ours, other = outcomes[OURS], outcomes[name]
    note = f"{ours.failed} failed, {other.failed:,} with {name}"
    return [
        Row(
            what=f"{trace}: late calls",
            figure=100 * ours.late / ours.calls,
            unit="%",
            baseline=100 * other.late / other.calls,
            against=name,
            value=100 * ours.late / ours.calls - 100 * other.late / other.calls,
            target=Target("≤", 2, "%"),
            note=note,
        ),
        Row(
            what=f"{trace}: capsule-seconds",
            figure=ours.capsule_seconds,
            unit="s",
            baseline=other.capsule_seconds,
            against=name,
            value=ours.capsule_seconds / other.capsule_seconds,
            target=Target("≤", 1.25),
        ),
    ]
