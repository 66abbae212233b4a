"""The same echo through what people use today: a ProcessPoolExecutor (no network, no queue, no session) and Celery with Redis."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.bench.direct import TEXT
from tests.bench.plane import BUILD, HERE, plane
from tests.bench.rounds import ROUND_SECONDS, closed_loop, interleave, median
from tests.bench.rows import Row, Target
from tests.support.redis_server import redis_server

CALLERS = 64
PROCESSES = 4
TARGETS = {"ProcessPoolExecutor": 2.5, "Celery": 5.0}
CELERY_PYTHON = HERE.parent.parent / ".venv-bench/bin/python"
"""`make bench` makes it: Celery is no dependency of anything else here."""

Measure = Callable[[], Awaitable[float]]


async def rows() -> list[Row]:
    async with plane(processes=PROCESSES) as (_, pool), executor() as in_processes, celery() as in_celery:
        ours = partial(closed_loop, partial(pool.call, "echo", {"text": TEXT}, timeout=30), CALLERS)

        async def routed() -> float:
            return (await ours()).per_second

        sides: dict[str, Measure] = {"ours": routed, "ProcessPoolExecutor": in_processes, "Celery": in_celery}
        rounds = await interleave("peers", sides)
    return [_row(name, [(each["ours"], each[name]) for each in rounds]) for name in TARGETS]


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


@asynccontextmanager
async def executor() -> AsyncIterator[Measure]:
    """Spawned, as a program that has threads must."""
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        loop = asyncio.get_running_loop()

        async def measure() -> float:
            return (await closed_loop(lambda: loop.run_in_executor(pool, work, TEXT), CALLERS)).per_second

        yield measure


@asynccontextmanager
async def celery() -> AsyncIterator[Measure]:
    """A worker of PROCESSES processes, and a caller of CALLERS threads, on a Redis of their own. Its output is in build/."""
    if not CELERY_PYTHON.exists():
        raise FileNotFoundError(f"{CELERY_PYTHON} is not there: `make bench` installs Celery into .venv-bench")
    with redis_server() as redis, tempfile.TemporaryDirectory() as folder, (BUILD / "bench-celery.log").open("w") as output:
        environment = {**os.environ, "BENCH_REDIS": redis.url, "PYTHONPATH": str(HERE)}
        start = partial(subprocess.Popen, env=environment, cwd=folder, stderr=output, text=True)
        argv = [CELERY_PYTHON, "-m", "celery", "-A", "celery_side", "worker", "-P", "prefork", "-c", str(PROCESSES), "-l", "warning"]
        worker = start([*argv, "--without-gossip", "--without-mingle", "--without-heartbeat"], stdout=output)
        caller = start([CELERY_PYTHON, Path(HERE, "celery_side.py"), str(CALLERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield partial(asyncio.to_thread, _ask, caller)
        finally:
            caller.kill()
            caller.communicate()
            worker.terminate()
            await asyncio.to_thread(worker.wait, 30)


def _ask(caller: subprocess.Popen[str]) -> float:
    assert caller.stdin is not None
    assert caller.stdout is not None
    caller.stdin.write(f"{ROUND_SECONDS}\n")
    caller.stdin.flush()
    return float(caller.stdout.readline())
