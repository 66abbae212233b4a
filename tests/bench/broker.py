"""The bound worth chasing: the same echo through a broker of libzmq, which has no sessions, deadlines, queues with a limit or recovery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.bench.plane import plane
from tests.bench.rounds import TEXT, chosen, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.bench.sides import Program, calls_per_second, programs, said

WORKERS = 4
TARGETS = {1: 0.6, 64: 1.0, 256: 1.3}
"""By callers."""


async def rows() -> list[Row]:
    found = []
    async with plane(processes=WORKERS) as (_, pool):
        with zmq() as caller:
            call = partial(pool.call, "echo", {"text": TEXT}, timeout=30)

            async def ours(callers: int) -> float:
                return (await closed_loop(call, callers)).per_second

            for callers in chosen(TARGETS):
                sides = {"ours": partial(ours, callers), "zmq": partial(calls_per_second, caller, callers)}
                found.append(_row(callers, await interleave(f"libzmq, {callers} callers", sides)))
    return found


def _row(callers: int, rounds: list[dict[str, float]]) -> Row:
    return Row(
        what=f"calls/s, {callers} caller{'s' * (callers > 1)}, {WORKERS} workers",
        figure=median(each["ours"] for each in rounds),
        unit="/s",
        baseline=median(each["zmq"] for each in rounds),
        against="libzmq ROUTER-DEALER",
        value=median(each["ours"] / each["zmq"] for each in rounds),
        target=Target("≥", TARGETS[callers]),
    )


@contextmanager
def zmq() -> Iterator[Program]:
    """A caller of a broker with WORKERS workers, each a process of its own, as ours are."""
    with programs("zmq") as start:
        broker = start("tests.bench.zmq_side", "broker")
        for_callers, for_workers = said(broker), said(broker)
        for _ in range(WORKERS):
            start("tests.bench.zmq_side", "worker", for_workers)
        yield start("tests.bench.zmq_side", "caller", for_callers)
