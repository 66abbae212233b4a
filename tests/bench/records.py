"""What it costs to remember what becomes of calls: with records and the history against without, in turns."""

from __future__ import annotations

from functools import partial

import snakepit
from tests.bench.plane import plane
from tests.bench.rounds import TEXT, chosen, closed_loop, interleave, median
from tests.bench.rows import Row, Target

NOISE = Target("≥", 0.98)


async def rows() -> list[Row]:
    async with plane(environment={"SNAKEPIT_MAX_CALL_RECORDS": "0"}) as (_, without), plane() as (_, remembered):
        pools = {"without": without, "with": remembered}
        found = []
        for callers in chosen((16, 64, 256)):
            sides = {name: partial(_calls, pool, callers) for name, pool in pools.items()}
            rounds = await interleave(f"records, {callers} callers", sides)
            found.append(_row(f"calls/s with records of calls, {callers} callers", rounds))
    return found


async def _calls(pool: snakepit.Pool, callers: int) -> float:
    return (await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), callers)).per_second


def _row(what: str, rounds: list[dict[str, float]]) -> Row:
    return Row(
        what=what,
        figure=median(each["with"] for each in rounds),
        unit="/s",
        baseline=median(each["without"] for each in rounds),
        against="maxCallRecords 0",
        value=median(each["with"] / each["without"] for each in rounds),
        target=NOISE,
    )
