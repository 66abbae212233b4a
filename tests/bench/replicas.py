"""Two control-plane replicas on the same CPUs against one: what they reach together, and whether a call waits at one of them while a
worker idles.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial

import snakepit
from tests.bench.direct import TEXT
from tests.bench.plane import plane
from tests.bench.rounds import ROUND_SECONDS, Load, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.bench.waits import Spell, longest_wrong_wait

CALLERS = 64
SLOW_CALLERS = 12
WORKERS = 4
SLOW_SECONDS = 0.02
WAIT_MS = 5
"""A call may wait so long behind another while a slot is free."""


async def rows() -> list[Row]:
    async with AsyncExitStack() as stack:
        _, one = await stack.enter_async_context(plane(processes=WORKERS))
        _, two = await stack.enter_async_context(plane(processes=WORKERS, replicas=2))
        pools = {"one": one, "two": two}
        rounds = await interleave("two replicas", {name: partial(echoes, pool) for name, pool in pools.items()})
        waits = await interleave("waiting at two replicas", {name: partial(worst_wait, pool) for name, pool in pools.items()})
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
        Row(
            what="a call's longest wait while a worker idled, two replicas",
            figure=median(each["two"] for each in waits),
            unit="ms",
            baseline=median(each["one"] for each in waits),
            against="one replica",
            value=median(each["two"] for each in waits),
            target=Target("≤", WAIT_MS, "ms"),
            note=f"{WORKERS} workers, {SLOW_CALLERS} callers, {SLOW_SECONDS * 1e3:g} ms a call; the way there and back is in it",
        ),
    ]


async def echoes(pool: snakepit.Pool) -> Load:
    return await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), CALLERS)


async def worst_wait(pool: snakepit.Pool) -> float:
    """Milliseconds: over all calls, the longest time in one piece that it waited while at least one worker had nothing to do."""
    spells: list[Spell] = []
    end = time.monotonic() + ROUND_SECONDS

    async def caller() -> None:
        while (asked := time.monotonic()) < end:
            spells.append(Spell(asked, *await pool.call("spell", {"seconds": SLOW_SECONDS}, timeout=30)))

    await asyncio.gather(*(caller() for _ in range(SLOW_CALLERS)))
    return longest_wrong_wait(spells, WORKERS) * 1e3
