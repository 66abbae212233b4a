"""What it costs to remember what becomes of calls: with records and the history against without, in turns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import snakepit
from tests.bench.cpu import ran_seconds
from tests.bench.plane import Plane, plane
from tests.bench.rounds import TEXT, chosen, closed_loop, interleave, median
from tests.bench.rows import Row, Target

RATE, CPU = Target("≥", 0.98), Target("≤", 1.02)

Measured = tuple[float, float]
"""Calls a second, and microseconds of the replica's CPU time a call: these say more where the machine does other things, too."""


async def rows() -> list[Row]:
    async with plane(environment={"SNAKEPIT_MAX_CALL_RECORDS": "0"}) as without, plane() as remembered:
        found = []
        for callers in chosen((16, 64, 256)):
            sides = {name: partial(_calls, *side, callers) for name, side in (("without", without), ("with", remembered))}
            rounds = await interleave(f"records, {callers} callers", sides)
            found.append(_row(f"calls/s with records of calls, {callers} callers", "/s", rounds, lambda each: each[0], RATE))
            what = f"CPU of the control plane a call with records, {callers} callers"
            found.append(_row(what, "µs", rounds, lambda each: each[1], CPU))
    return found


async def _calls(running: Plane, pool: snakepit.Pool, callers: int) -> Measured:
    (replica,) = running.replicas.values()
    before = ran_seconds(replica.pid)
    load = await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), callers)
    return load.per_second, (ran_seconds(replica.pid) - before) / len(load.latencies) * 1e6


def _row(what: str, unit: str, rounds: list[dict[str, Measured]], of: Callable[[Measured], float], target: Target) -> Row:
    return Row(
        what=what,
        figure=median(of(each["with"]) for each in rounds),
        unit=unit,
        baseline=median(of(each["without"]) for each in rounds),
        against="maxCallRecords 0",
        value=median(of(each["with"]) / of(each["without"]) for each in rounds),
        target=target,
    )
