"""How workers come and go: how long the first ones take, how long a killed one is missed, and what memory one more costs.

From the outside: a control-plane replica runs, and a capsule is started from nothing beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import snakepit
from snakepit.spec import SnakePoolSpec
from tests.bench.cpu import own_mib
from tests.bench.plane import BUILD, HERE, POOL, Plane, until_up
from tests.bench.rounds import RUN, Load, say
from tests.bench.rows import Row, Target

SMALL, HEAVY, DIGITS = "adapters:Small", "adapter_of_200_mib:Heavy", "digits.tools:Digits"
EXAMPLE = HERE.parent.parent / "examples/digits"
WAIT_SECONDS = 120.0
COUNTS = (1, 10, 100)
ROUNDS = {1: 5, 10: 3, 100: 1}
START_SECONDS = {("fork", 100): 10.0}
PLAIN = "import sys, adapters; adapters.Small().setup(); print('ready', flush=True); sys.stdin.read()"
KILLS = 60
REPLACE_MS = 200.0
TOLD_MS = 100.0
CALLERS = 8
WORK_SECONDS = 0.002


def spec(adapter: str, processes: int, startup: str) -> SnakePoolSpec:
    return msgspec.convert({"worker": {"adapter": adapter, "processes": processes, "startup": startup}}, SnakePoolSpec)


@asynccontextmanager
async def replica() -> AsyncIterator[tuple[Plane, snakepit.Client]]:
    """A control plane without capsules, and a client that has met it."""
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    plane = Plane(folder)
    try:
        plane.start_replica()
        async with snakepit.Client(plane.server, connect_timeout=WAIT_SECONDS) as client:
            await until_up(client)
            yield plane, client
    finally:
        await plane.end()
        shutil.rmtree(folder, ignore_errors=True)


async def ready(pool: snakepit.Pool, count: int) -> list[snakepit.WorkerInfo]:
    """Wait until so many workers are; they."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            with contextlib.suppress(snakepit.SnakepitError):  # the pool is not known yet
                workers = [each for each in await pool.workers() if each.state == "ready"]
                if len(workers) >= count:
                    return workers
            await asyncio.sleep(0.01)


# ---- starts


async def start_rows() -> list[Row]:
    return [await _start_row(startup, count) for count in COUNTS for startup in ("fork", "spawn")]


async def _start_row(startup: str, count: int) -> Row:
    ours, plain = [], []
    for _ in range(ROUNDS[count]):
        ours.append(await _start(startup, count))
        plain.append(await _start_plainly(count))
        say(f"start of {count}, {startup}: {ours[-1]:.2f} s, plain {plain[-1]:.2f} s")
    figure, baseline = sorted(ours)[len(ours) // 2], sorted(plain)[len(plain) // 2]
    limit = START_SECONDS.get((startup, count))
    return Row(
        what=f"start of {count} worker{'s' * (count > 1)} from nothing, {startup}",
        figure=figure,
        unit="s",
        baseline=baseline,
        against="plain interpreters",
        value=figure if limit else figure / baseline,
        target=Target("<", limit, "s") if limit else Target("≤", START_RATIO[startup, count]),
        note="from the start of agent and keeper until the control plane may route to all of them; setup() takes 40 ms",
    )


START_RATIO = {("fork", 1): 4.0, ("spawn", 1): 4.0, ("fork", 10): 1.0, ("spawn", 10): 2.0, ("spawn", 100): 1.5}


async def _start(startup: str, count: int) -> float:
    async with replica() as (plane, client):
        began = time.perf_counter()
        plane.start_capsule(spec(SMALL, count, startup))
        await ready(client.pool(POOL), count)
        return time.perf_counter() - began


async def _start_plainly(count: int) -> float:
    """What a program without us would do: start interpreters that import and set up, and wait until each has said so."""
    began = time.perf_counter()
    children = [await asyncio.create_subprocess_exec(sys.executable, "-c", PLAIN, cwd=HERE, stdout=PIPE, stdin=PIPE) for _ in range(count)]
    for child in children:
        assert child.stdout is not None
        await child.stdout.readline()
    took = time.perf_counter() - began
    for child in children:
        child.kill()
    await asyncio.gather(*(child.wait() for child in children))
    return took


# ---- replacements


async def replacement_rows() -> list[Row]:
    fork, loaded, told = await _replacements("fork", KILLS)
    spawn, _, _ = await _replacements("spawn", KILLS // 4)
    note = (
        "from SIGKILL to the first answer of the successor; adapter of 200 MiB, 4 workers, "
        f"{CALLERS} callers with {WORK_SECONDS * 1e3:g} ms of work each, which keep both CPUs busy"
    )
    shares = {"p50": 0.5, "p95": 0.95}
    rows = [
        Row(
            what=f"replacement of a killed worker under load, {name}",
            figure=fork.quantile(share) * 1e3,
            unit="ms",
            baseline=spawn.quantile(share) * 1e3,
            against="startup: spawn",
            value=fork.quantile(share) * 1e3,
            target=Target("<", REPLACE_MS, "ms"),
            note=f"{note}; {len(loaded.latencies)} calls meanwhile, {loaded.per_second:,.0f}/s",
        )
        for name, share in shares.items()
    ]
    late = told.quantile(0.95) * 1e3
    word = Row(
        what="a killed worker's call fails at its caller, p95",
        figure=late,
        unit="ms",
        value=late,
        target=Target("<", TOLD_MS, "ms"),
        note=f"from SIGKILL to WorkerLost, {len(told.latencies)} calls under the same load",
    )
    return [*rows, word]


async def _replacements(startup: str, kills: int) -> tuple[Load, Load, Load]:
    """Latencies of the replacements, of the calls meanwhile, and of the word that a call was lost."""
    replaced, calls, told = Load(), Load(), Load()
    killed = 0.0
    newcomer: list[asyncio.Future[float]] = []
    async with replica() as (plane, client):
        plane.start_capsule(spec(HEAVY, 4, startup))
        pool = client.pool(POOL)
        known = {each.pid for each in await ready(pool, 4)}
        stop = asyncio.Event()

        async def caller() -> None:
            while not stop.is_set():
                at = time.perf_counter()
                try:
                    pid, _ = await pool.call("who", {"seconds": WORK_SECONDS}, timeout=30)
                except snakepit.WorkerLost:
                    told.latencies.append(time.perf_counter() - killed)
                    continue
                calls.latencies.append(time.perf_counter() - at)
                if pid not in known:
                    known.add(pid)
                    for each in newcomer:
                        if not each.done():
                            each.set_result(time.perf_counter())

        callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
        began = time.perf_counter()
        for number in range(kills):
            await asyncio.sleep(0.1)
            victim = sorted(await ready(pool, 4), key=lambda each: each.id)[number % 4]
            newcomer[:] = [asyncio.get_running_loop().create_future()]
            killed = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            async with asyncio.timeout(WAIT_SECONDS):
                replaced.latencies.append(await newcomer[0] - killed)
            known.discard(victim.pid)
        calls.seconds = time.perf_counter() - began
        stop.set()
        await asyncio.gather(*callers)
    say(f"replacements, {startup}: p50 {replaced.quantile(0.5) * 1e3:.0f} ms, p95 {replaced.quantile(0.95) * 1e3:.0f} ms")
    return replaced, calls, told


# ---- memory


async def memory_rows() -> list[Row]:
    rows = []
    for name, adapter, arguments in (("small", SMALL, ("who", {})), ("numpy/scikit-learn", DIGITS, ("classify", {"image": [1.0] * 64}))):
        fork, spawn = [await _own_memory(adapter, startup, *arguments) for startup in ("fork", "spawn")]
        small = adapter == SMALL
        rows.append(
            Row(
                what=f"own memory (USS) of one more worker, {name} adapter",
                figure=fork,
                unit="MiB",
                baseline=spawn,
                against="startup: spawn",
                value=fork if small else fork / spawn * 100,
                target=Target("≤", 5.0, "MiB") if small else Target("≤", 15.0, "%"),
                note="median of four workers, each after 20 calls",
            )
        )
    return rows


async def _own_memory(adapter: str, startup: str, tool: str, arguments: dict[str, Any]) -> float:
    async with replica() as (plane, client):
        plane.start_capsule(spec(adapter, 4, startup), path=EXAMPLE if adapter == DIGITS else HERE)
        pool = client.pool(POOL)
        workers = await ready(pool, 4)
        await asyncio.gather(*(pool.call(tool, arguments, timeout=30) for _ in range(80)))
        found = sorted(own_mib(each.pid) for each in workers)
        say(f"own memory, {adapter}, {startup}: {', '.join(f'{each:.1f}' for each in found)} MiB")
        return (found[1] + found[2]) / 2


if __name__ == "__main__":
    from tests.bench.__main__ import show

    groups = {"starts": start_rows, "replacements": replacement_rows, "memory": memory_rows}
    for word in sys.argv[1:] or groups:
        show(RUN(groups[word]()))
