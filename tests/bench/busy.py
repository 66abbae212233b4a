"""Keeping workers busy: tools that hold eight one-slot workers for a moment without using the CPU, and more callers than workers."""

from __future__ import annotations

from functools import partial

from tests.bench.plane import plane
from tests.bench.rounds import closed_loop, interleave, median
from tests.bench.rows import Row, Target

WORKERS = 8
CALLERS = 64
TARGETS = {0.005: 0.92, 0.001: 0.7}
"""By seconds that the tool takes: the share of the theoretical maximum."""


async def rows() -> list[Row]:
    async with plane(processes=WORKERS) as (_, pool):
        sides = {
            seconds: partial(closed_loop, partial(pool.call, "wait", {"seconds": seconds}, timeout=30), CALLERS) for seconds in TARGETS
        }
        rounds = await interleave("busy", sides)
    return [_row(seconds, median(each[seconds].per_second for each in rounds)) for seconds in TARGETS]


def _row(seconds: float, reached: float) -> Row:
    most = WORKERS / seconds
    return Row(
        what=f"calls/s of a tool that waits {seconds * 1e3:g} ms, {WORKERS} workers, {CALLERS} callers",
        figure=reached,
        unit="/s",
        baseline=most,
        against="in theory",
        value=reached / most,
        target=Target("≥", TARGETS[seconds]),
    )
