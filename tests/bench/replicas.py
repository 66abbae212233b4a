"""Two control-plane replicas on the same CPUs against one: what they reach together, and whether a call waits at one of them while a
worker idles.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial

import snakepit
from tests.bench.plane import plane
from tests.bench.rounds import ROUND_SECONDS, TEXT, Load, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.bench.waits import Spell, longest_wrong_wait

CALLERS = 64
WORKERS = 4
WAITS = {0.02: 12, 0.005: 5}
"""Callers by the seconds that their tool takes: one of which no call is sent ahead of a slot, and one of which some are."""
WAIT_MS = 5
"""A call may wait so long behind another while a slot is free."""


async def rows() -> list[Row]:
    async with AsyncExitStack() as stack:
        _, one = await stack.enter_async_context(plane(processes=WORKERS))
        _, two = await stack.enter_async_context(plane(processes=WORKERS, replicas=2))
        pools = {"one": one, "two": two}
        rounds = await interleave("two replicas", {name: partial(echoes, pool) for name, pool in pools.items()})
        waits = {
            seconds: await interleave("waiting at two replicas", {name: partial(worst_wait, pool, seconds) for name, pool in pools.items()})
            for seconds in WAITS
        }
    return [
        Row(
            what=f"calls/s through two replicas, {CALLERS} callers",
            figure=median(each["two"].per_second for each in rounds),
            unit="/s",
            baseline=median(each["one"].per_second for each in rounds),
            against="one replica",
            value=median(each["two"].per_second / each["one"].per_second for each in rounds),
            target=Target("≥", 0.9),
        ),
        *(_wait(seconds, rounds) for seconds, rounds in waits.items()),
    ]


def _wait(seconds: float, rounds: list[dict[str, float]]) -> Row:
    return Row(
        what=f"a call's longest wait while a worker idled, two replicas, {seconds * 1e3:g} ms a call",
        figure=median(each["two"] for each in rounds),
        unit="ms",
        baseline=median(each["one"] for each in rounds),
        against="one replica",
        value=median(each["two"] for each in rounds),
        target=Target("≤", WAIT_MS, "ms"),
        note=f"{WORKERS} workers, {WAITS[seconds]} callers; the way there and back is in it",
    )


async def echoes(pool: snakepit.Pool) -> Load:
    return await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), CALLERS)


async def worst_wait(pool: snakepit.Pool, seconds: float) -> float:
    """Milliseconds: over all calls, the longest time in one piece that it waited while at least one worker had nothing to do."""
    spells: list[Spell] = []
    end = time.monotonic() + ROUND_SECONDS

    async def caller() -> None:
        while (asked := time.monotonic()) < end:
            spells.append(Spell(asked, *await pool.call("spell", {"seconds": seconds}, timeout=30)))

    await asyncio.gather(*(caller() for _ in range(WAITS[seconds])))
    return longest_wrong_wait(spells, WORKERS) * 1e3
