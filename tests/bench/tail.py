"""Latency at half of the maximum throughput: independent callers, not a closed loop that waits when the server is slow."""

from __future__ import annotations

from functools import partial

from tests.bench.plane import plane
from tests.bench.rounds import TEXT, Load, closed_loop, interleave, median, open_loop, say
from tests.bench.rows import Row, Target

CALLERS = 256
"""So many callers reach the maximum."""


async def rows() -> list[Row]:
    async with plane() as (_, pool):
        call = partial(pool.call, "echo", {"text": TEXT}, timeout=30)

        async def half() -> tuple[float, Load]:
            most = (await closed_loop(call, CALLERS)).per_second
            return most, await open_loop(call, most / 2)

        rounds = [each["half"] for each in await interleave("tail", {"half": half})]
    say(f"  at {median(most for most, _ in rounds) / 2:,.0f} calls/s")
    middle = median(load.quantile(0.5) * 1e3 for _, load in rounds)
    return [
        Row(
            what="p99 at half of the maximum throughput",
            figure=median(load.quantile(0.99) * 1e3 for _, load in rounds),
            unit="ms",
            baseline=middle,
            against="p50",
            value=median(load.quantile(0.99) / load.quantile(0.5) for _, load in rounds),
            target=Target("≤", 5),
            note=f"{median(most for most, _ in rounds) / 2:,.0f} calls/s, at random moments",
        )
    ]
