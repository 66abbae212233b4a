"""The same echo through what people use today: a ProcessPoolExecutor (no network, no queue, no session), Celery with Redis, and
Ray's actors.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

from tests.bench.plane import plane
from tests.bench.rounds import TEXT, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.bench.sides import calls_per_second, programs
from tests.support.redis_server import redis_server

CALLERS = 64
PROCESSES = 4
TARGETS = {"ProcessPoolExecutor": 2.5, "Celery": 5.0, "Ray": 5.0}
_NAMESPACES = ("--map-root-user", "--net", "--pid", "--mount-proc")
ALONE = ("unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", "-c", 'ip link set lo up && exec "$@"', "-")
"""Before a command: a network with nothing but a loopback interface, and processes that the kernel ends with the first of them."""

Measure = Callable[[], Awaitable[float]]
Sides = dict[str, Measure]


async def rows() -> list[Row]:
    """Ray comes last: what it does while it idles would slow down the others' rounds."""
    found = []
    async with plane(processes=PROCESSES) as (_, pool):
        ours = partial(closed_loop, partial(pool.call, "echo", {"text": TEXT}, timeout=30), CALLERS)

        async def routed() -> float:
            return (await ours()).per_second

        for others in (local, ray):
            with others() as sides:
                rounds = await interleave(f"peers: {', '.join(sides)}", {"ours": routed, **sides})
            found += [_row(name, [(each["ours"], each[name]) for each in rounds]) for name in sides]
    return found


def _row(name: str, pairs: list[tuple[float, float]]) -> Row:
    return Row(
        what=f"calls/s, {CALLERS} callers, {PROCESSES} processes",
        figure=median(ours for ours, _ in pairs),
        unit="/s",
        baseline=median(theirs for _, theirs in pairs),
        against=name,
        value=median(ours / theirs for ours, theirs in pairs),
        target=Target("≥", TARGETS[name]),
    )


def work(text: str) -> str:
    return text


@contextmanager
def local() -> Iterator[Sides]:
    with executor() as in_processes, celery() as in_celery:
        yield {"ProcessPoolExecutor": in_processes, "Celery": in_celery}


@contextmanager
def executor() -> Iterator[Measure]:
    """Spawned, as a program that has threads must."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:

        async def measure() -> float:
            loop = asyncio.get_running_loop()
            return (await closed_loop(lambda: loop.run_in_executor(pool, work, TEXT), CALLERS)).per_second

        yield measure


@contextmanager
def celery() -> Iterator[Measure]:
    """A worker of PROCESSES processes, and a caller of CALLERS threads, on a Redis of their own."""
    with redis_server() as redis, programs("celery") as start:
        worker = ["celery", "-A", "tests.bench.celery_side", "worker", "-P", "prefork", "-c", str(PROCESSES), "-l", "warning"]
        start(*worker, "--without-gossip", "--without-mingle", "--without-heartbeat", BENCH_REDIS=redis.url)
        yield partial(calls_per_second, start("tests.bench.celery_side", BENCH_REDIS=redis.url), CALLERS)


@contextmanager
def ray() -> Iterator[Sides]:
    with programs("ray") as start:
        actors = start("tests.bench.ray_side", str(PROCESSES), within=ALONE)
        yield {"Ray": partial(calls_per_second, actors, CALLERS)}
