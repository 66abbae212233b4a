"""`make soak`: SOAK_SECONDS of a storm at full load (default 20 minutes), a fault every few seconds, then the accounts.

SOAK_SEED repeats a schedule of calls and faults.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import snakepit
from tests.bench.plane import until_warm
from tests.soak.load import CALLERS, Load
from tests.soak.processes import Footprint, orphans
from tests.soak.world import ALONE, EXCLUSIVE_WORKERS, POOL, WORKERS, World
from tests.support.eventually import eventually

SECONDS = float(os.environ.get("SOAK_SECONDS", "1200"))
FAULT_SECONDS = (1.0, 4.0)
KINDS = ("agent", "keeper", "worker")
"""Of these the last kills are."""

WARM_SECONDS = 20.0
"""After so long everything has been allocated once."""

STRONG_SECONDS = 2.0
"""To full strength after a kill, on a machine that does nothing else."""

MOST_SECONDS = float(os.environ.get("SOAK_STRONG_SECONDS", "10"))
"""The gate: on one that does much else."""

SETTLE_SECONDS = 30.0
CLOSE_SECONDS = 5.0
"""gRPC ends the tasks of its calls a moment after their channel was closed."""

GROWN_MIB = 24.0
GROWN_FILES = 6
"""A link or a pipe may be on its way."""

GROWN_TASKS = 10
CALLS_AT_ONCE = 2 * CALLERS
"""A relay makes one more."""

OF_SESSIONS = ("session", "state", "expiry", "ids", "bound")
"""Kinds of keys that must be gone with the last session."""


@dataclass
class Before:
    """What there was before the faults; the replicas' tasks: before the load."""

    footprints: Mapping[str, Footprint]
    tasks: int
    helpers: int
    """Those that have been there for a while: a zygote that forks has two more for a moment, which have no name yet."""


async def soak(world: World, seconds: float, rng: random.Random) -> list[str]:
    """All that was wrong at the end, in this process too."""
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    problems = await _soak(world, seconds, rng)
    end = time.monotonic() + CLOSE_SECONDS
    while (left := _more(threads, tasks)) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return problems + [f"the client left behind {each}" for each in left]


def _more(threads: set[threading.Thread], tasks: set[asyncio.Task[Any]]) -> list[object]:
    """Threads and tasks of this process that were not there before."""
    now = [each for each in threading.enumerate() if each not in threads and not _is_shared(each)]
    return [*now, *(asyncio.all_tasks() - tasks)]


async def _soak(world: World, seconds: float, rng: random.Random) -> list[str]:
    async with snakepit.Client(world.server, connect_timeout=30) as client:
        pool, alone = client.pool(POOL), client.pool(ALONE)
        await until_warm(pool, WORKERS, asks=4)
        await until_warm(alone, EXCLUSIVE_WORKERS, asks=4)
        tasks = await eventually(lambda: asyncio.to_thread(world.tasks), "the replicas tell of their tasks")
        load = Load(pool, alone, rng)
        await load.open_sessions()
        running = asyncio.create_task(load.run())
        idle, early = min(WARM_SECONDS, seconds / 3), world.helpers()
        await _idle(running, idle)
        warm, helpers = world.footprints(), len(early & world.helpers())
        await _faults(world, load, running, seconds - idle, rng)
        loaded = {kind: await world.recover(pool, kind) for kind in KINDS}
        load.stop()
        await running
        alone_again = {kind: await world.recover(pool, kind) for kind in KINDS}
        weak = [*recovered("with the load going on", loaded), *recovered("without load", alone_again)]
        await until_warm(pool, WORKERS, asks=4)
        _tell(world, load)
        return [
            *weak,
            *load.ledger.problems(world.runs()),
            *load.ledger.router_problems(world.metric("snakepit_calls_total", "outcome"), world.unread),
            *[f"a replica that was told to stop has lost a call: {why}" for why in world.lost_by_stopping],
            *await load.session_problems(),
            *await _leftovers(world, load, Before(warm, tasks, helpers)),
        ]


def _is_shared(thread: threading.Thread) -> bool:
    """The event loop's executor, and gRPC's own thread: one for the whole process, whatever is closed."""
    return thread.name.startswith("asyncio_") or "_poll_wrapper" in thread.name


async def _idle(running: asyncio.Task[None], seconds: float) -> None:
    done, _ = await asyncio.wait([running], timeout=seconds)
    for task in done:
        task.result()


async def _faults(world: World, load: Load, running: asyncio.Task[None], seconds: float, rng: random.Random) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await _idle(running, rng.uniform(*FAULT_SECONDS))
        await world.fault(load.pool, load.ledger, CALLS_AT_ONCE)


def recovered(when: str, took: Mapping[str, float]) -> list[str]:
    """Seconds by what was killed: said, and those that are too many."""
    kinds = ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in took.items())
    print(f"seconds to full strength, {when}, after a kill of: {kinds} ({STRONG_SECONDS:g} on a machine that does nothing else)")
    slow = {kind: seconds for kind, seconds in took.items() if seconds > MOST_SECONDS}
    return [
        f"{seconds:.2f} s to full strength after a kill of: {kind}, {when} (at most {MOST_SECONDS:g})" for kind, seconds in slow.items()
    ]


def _tell(world: World, load: Load) -> None:
    print(f"{len(load.ledger.ends)} calls: {dict(Counter(load.ledger.ends.values()))}; reasons {dict(load.ledger.reasons)}")
    print(f"faults: {dict(world.faults)}; runs that workers began: {len(world.runs())}")


async def _leftovers(world: World, load: Load, before: Before) -> list[str]:
    await load.delete_sessions()
    found: list[str] = []
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end and (found := await asyncio.to_thread(_left, world, before)):
        await asyncio.sleep(0.5)
    return found


def _left(world: World, before: Before) -> list[str]:
    found = [f"{count} calls in the queues" for count in world.metric("snakepit_queue_depth").values() if count]
    if (count := len(world.workers())) != WORKERS + EXCLUSIVE_WORKERS:
        found.append(f"{count} workers instead of {WORKERS + EXCLUSIVE_WORKERS}")
    if (helpers := len(world.helpers())) != before.helpers:
        found.append(f"{before.helpers} processes beside the workers became {helpers}")
    if (spares := world.spares()) > len(world.keepers):
        found.append(f"{spares} processes are forked ahead in {len(world.keepers)} capsules")
    for name, now in world.footprints().items():
        was = before.footprints[name]
        if now.files > was.files + GROWN_FILES or now.threads > was.threads + 2 or now.mib > was.mib + GROWN_MIB:
            found.append(f"{name} has grown: {was} became {now}")
    if not (tasks := world.tasks()) or tasks > before.tasks + GROWN_TASKS:
        found.append(f"the replicas' {before.tasks} tasks became {tasks}")
    return found + _keys(world) + world.astray()


def _keys(world: World) -> list[str]:
    """Of sessions, all of which are deleted; and whatever would stay for ever."""
    import redis

    with redis.Redis.from_url(world.redis.url, decode_responses=True) as store:
        keys = {key: store.ttl(key) for key in store.scan_iter(count=1000)}
    eternal = [f"the key {key} is left in Redis, and never expires" for key, ttl in keys.items() if ttl == -1]
    return eternal + [f"the key {key} of a session is left in Redis" for key in keys if key.partition("}:")[2].split(":")[0] in OF_SESSIONS]


def run(seconds: float, seed: int) -> list[str]:
    """The whole soak, in a folder of its own; what was wrong."""
    print(f"seed {seed}: {seconds:g} s")
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="snakepit-soak-") as folder:
        world = World(Path(folder), rng)
        try:
            world.start()
            problems = asyncio.run(soak(world, seconds, rng))
        finally:
            world.stop()
            left = _orphans(Path(folder))
            logs = {path.name: path.read_text() for path in Path(folder).glob("*.log") if not path.name.startswith("worker-")}
    problems += [f"outlived everything: {each}" for each in left]
    if problems:
        for name, text in logs.items():
            print(f"---- {name}\n{text[-4000:]}")
    return problems


def _orphans(folder: Path) -> list[str]:
    """After a moment: what has been killed may be on its way."""
    end = time.monotonic() + CLOSE_SECONDS
    while (left := orphans(folder, ())) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def main() -> None:
    problems = run(SECONDS, int(os.environ.get("SOAK_SEED", random.randrange(2**32))))
    for problem in problems[:50]:
        print(f"WRONG: {problem}")
    print(f"{len(problems)} problems" if problems else "every call is accounted for, and nothing is left over")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
