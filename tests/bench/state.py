"""State from inside async tools: compare-and-sets in a real Redis, 64 in flight, against the same one by one."""

from __future__ import annotations

from functools import partial

from tests.bench.plane import plane
from tests.bench.rounds import ROUND_SECONDS, interleave, median
from tests.bench.rows import Row, Target
from tests.support.redis_server import redis_server

IN_FLIGHT = 64


async def rows() -> list[Row]:
    with redis_server("valkey") as redis:
        async with plane(processes=1, store=redis.url) as (_, pool), pool.session("bench") as session:

            async def swap(in_flight: int) -> float:
                arguments = {"seconds": ROUND_SECONDS, "in_flight": in_flight}
                return float(await session.call("swap", arguments, timeout=ROUND_SECONDS + 30))

            rounds = await interleave("state", {number: partial(swap, number) for number in (IN_FLIGHT, 1)})
    many, single = (median(each[number] for each in rounds) for number in (IN_FLIGHT, 1))
    what = f"state compare-and-sets/s from an async tool, {IN_FLIGHT} in flight"
    return [
        Row(what=what, figure=many, unit="/s", value=many, target=Target("≥", 10_000, "/s"), prototype="190,000 raw"),
        Row(
            what=f"{what}, against one by one",
            figure=many,
            unit="/s",
            baseline=single,
            against="one by one",
            value=many / single,
            target=Target("≥", 5),
        ),
    ]
