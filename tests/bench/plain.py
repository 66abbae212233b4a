"""Plain unary gRPC clients, as another language has them, through the router, against the same call made directly."""

from __future__ import annotations

from functools import partial

from tests.bench.calls import metered
from tests.bench.direct import direct, unary_calls
from tests.bench.plane import plane
from tests.bench.rounds import chosen, interleave, median
from tests.bench.rows import Row, Target

TARGETS = {16: (0.65, "0.45x"), 64: (0.65, "0.45x")}


async def rows() -> list[Row]:
    found: list[Row] = []
    async with direct() as baseline, plane() as (running, _), unary_calls(running.server) as routed:
        meter = running.meter()
        for callers in chosen(TARGETS):
            sides = {"direct": partial(metered, meter, baseline, callers), "routed": partial(metered, meter, routed, callers)}
            rounds = await interleave(f"plain gRPC, {callers} callers", sides)
            target, prototype = TARGETS[callers]
            costs = {name: median(each["routed"].micros[name] for each in rounds) for name in rounds[0]["routed"].cpu}
            found.append(
                Row(
                    what=f"calls/s of plain gRPC clients, {callers} callers",
                    figure=median(each["routed"].load.per_second for each in rounds),
                    unit="/s",
                    baseline=median(each["direct"].load.per_second for each in rounds),
                    against="direct grpc.aio",
                    value=median(each["routed"].load.per_second / each["direct"].load.per_second for each in rounds),
                    target=Target("≥", target),
                    prototype=prototype,
                    note="CPU µs a call: " + ", ".join(f"{name} {micros:.0f}" for name, micros in costs.items()),
                )
            )
    return found
