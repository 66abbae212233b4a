"""One capsule under two control-plane replicas, which know of each other's calls by its word alone; and what is sent ahead of its turn."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from snakepit.errors import WorkerLost
from snakepit_agent.model import slots
from snakepit_control_plane.model import capsule as workers
from snakepit_control_plane.model.call import RECALLED
from snakepit_control_plane.policy import placement as route
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller, calling, counted, eventually, replica
from support.pool_of_one import ready
from support.simulated_agent import POOL

ADAPTER = "support.pace:Pace"
NO_BEAT = {"intervalSeconds": 30, "timeoutSeconds": 120}
"""Whatever a replica learns in a test, it learns from what the agent says in between."""
NO_TIME = 10.0
"""Seconds: more than a busy machine keeps anybody waiting, and less than nearly every heartbeat is away."""


class Spell(NamedTuple):
    """When and where a tool ran."""

    process: int
    begin: float
    end: float


@contextlib.asynccontextmanager
async def callers(*replicas: Running) -> AsyncIterator[list[Caller]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(calling(each.address)) for each in replicas]


async def spell(caller: Caller, seconds: float) -> Spell:
    answer = await caller.call("spell", {"seconds": seconds}, timeout=30)
    process, begin, end = (value.number_value for value in answer.json.list_value.values)
    return Spell(int(process), begin, end)


def most_at_once(spells: Iterable[Spell]) -> int:
    changes = sorted([(each.begin, 1) for each in spells] + [(each.end, -1) for each in spells])
    most = running = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def longest_idle(spells: Iterable[Spell], slots: int) -> float:
    """Seconds for which fewer than so many ran, until the last one began."""
    changes = sorted([(each.begin, 1) for each in spells] + [(each.end, -1) for each in spells])
    running, idle = 0, [0.0]
    for (since, change), (until, _) in pairwise(changes):
        running += change
        if running < slots and until <= max(each.begin for each in spells):
            idle.append(until - since)
    return max(idle)


def by_process(spells: Iterable[Spell]) -> Iterator[list[Spell]]:
    ordered = sorted(spells)
    for process in {each.process for each in ordered}:
        yield [each for each in ordered if each.process == process]


async def test_slots_are_never_exceeded_by_two_replicas_that_race(replicas: tuple[Running, Running]) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    threads = {"profile": "thread", "threads": 3}
    async with capsule(spec(ADAPTER, worker=threads, heartbeat=NO_BEAT), *replicas, pool=POOL), callers(*replicas) as sides:
        for side in sides:
            await ready(side, 1)
        spells = await asyncio.gather(*[spell(chance.choice(sides), chance.uniform(0.002, 0.02)) for _ in range(200)])
    assert most_at_once(spells) == 3
    assert longest_idle(spells, 3) < NO_TIME, "a slot waited for a heartbeat while calls waited for it"


async def test_twenty_slow_calls_on_eight_workers_run_eight_at_a_time(tmp_path: Path) -> None:
    """So they take three times as long as one, which is the least that they can: nobody is sent to a worker that isn't free."""
    eight, journal = spec(ADAPTER, worker={"processes": 8}, heartbeat=NO_BEAT), tmp_path / "journal"
    journal.touch()
    async with replica() as server, callers(server) as (caller,), capsule(eight, server, pool=POOL):
        await ready(caller, 8)

        def held(number: int) -> asyncio.Task[Any]:
            return caller.start("step", {"number": number, "journal": str(journal), "until": str(tmp_path / f"{number}")})

        calls, done = [held(number) for number in range(20)], set[str]()
        for begun in (8, 16, 20):
            await eventually(lambda begun=begun: len(journal.read_text().split()) == begun, f"{begun} have begun")
            running = {*journal.read_text().split()} - done
            for number in running:
                (tmp_path / number).touch()
            done |= running
        answers = [await call for call in calls]
    assert len({answer.json.list_value.values[0].number_value for answer in answers}) == 8


async def test_a_call_at_one_replica_begins_as_soon_as_the_others_call_ends(replicas: tuple[Running, Running]) -> None:
    async with capsule(spec(ADAPTER, worker={"processes": 2}, heartbeat=NO_BEAT), *replicas, pool=POOL), callers(*replicas) as (one, other):
        await ready(one, 2)
        await ready(other, 2)
        first = [asyncio.create_task(spell(one, 0.3)) for _ in range(2)]
        await eventually(lambda: [worker.own for worker in replicas[0].flow.pools[POOL].workers.values()] == [1, 1])
        second = [asyncio.create_task(spell(other, 0.1)) for _ in range(4)]
        spells = await asyncio.gather(*first, *second)
    for mine in by_process(spells):
        assert len(mine) >= 2
        idle = [later.begin - earlier.end for earlier, later in pairwise(mine)]
        assert all(0 <= gap < NO_TIME for gap in idle), f"a call waited for a heartbeat: {idle}"


async def test_a_replica_that_was_refused_hears_when_the_worker_is_free_however_short_the_others_call_was(
    replicas: tuple[Running, Running],
) -> None:
    async with capsule(spec(ADAPTER, heartbeat=NO_BEAT), *replicas, pool=POOL), callers(*replicas) as sides:
        for side in sides:
            await ready(side, 1)
        for _ in range(100):
            began = time.monotonic()
            await asyncio.gather(*[spell(side, 0.002) for side in sides])
            assert time.monotonic() - began < NO_TIME, "a refused call waited for a heartbeat"


@contextlib.asynccontextmanager
async def two_workers() -> AsyncIterator[tuple[Running, Caller]]:
    """Of one replica, both ready."""
    async with (
        replica() as server,
        callers(server) as (caller,),
        capsule(spec(ADAPTER, worker={"processes": 2}, heartbeat=NO_BEAT), server, pool=POOL),
    ):
        await ready(caller, 2)
        yield server, caller


@pytest.mark.parametrize("who", ["whoever", "the replica"])
async def test_calls_sent_ahead_of_a_quick_tool_that_once_takes_long_are_served_elsewhere_and_none_runs_twice(
    who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent, which calls back by itself, a little later, is kept from it, or is not."""
    if who == "the replica":
        monkeypatch.setattr(slots, "RECALL_AFTER_SECONDS", 60.0)
        monkeypatch.setattr(slots, "UNREAD_SECONDS", 60.0)
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with two_workers() as (server, caller):
        for number in range(20):
            before = recalled(server)
            await one_slow_among_quick_ones(caller, tmp_path / str(number), chance.randrange(5))
            if recalled(server) > before:
                return
    pytest.fail("nothing was ever called back")


async def test_a_quick_call_waits_a_few_milliseconds_behind_a_slow_one_while_a_slot_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of many, as a machine that does other things keeps processes from running; of those that were called back, as the others
    may never have been behind the slow one."""
    monkeypatch.setattr(workers, "WAKE_SECONDS", workers.AHEAD_SECONDS)  # However fast the machine is, they go behind the slow one.
    waits: list[float] = []
    async with two_workers() as (server, caller):
        for number in range(50):
            waits += await waits_behind_a_slow_call(server, caller, tmp_path / str(number))
            if waits and min(waits) < 0.01:
                return
    pytest.fail(f"of {len(waits)} calls that were called back, none was quick: {sorted(waits)}")


async def waits_behind_a_slow_call(server: Running, caller: Caller, journal: Path) -> list[float]:
    """Of five quick calls that are made right after one of 0.1 s: how long those that were called back waited to be begun."""
    arguments = {"number": 0, "journal": str(journal)}
    for _ in range(30):
        await caller.call("step", arguments, timeout=30)
    slow = caller.start("step", {**arguments, "seconds": 0.1}, timeout=30)
    answers = await asyncio.gather(*[caller.call("step", arguments, timeout=30) for _ in range(5)])
    await slow
    begun = {answer.call_id: answer.json.list_value.values[1].number_value for answer in answers}
    records = server.flow.pools[POOL].records or ()
    return [
        begun[each.call_id] - each.came_at for each in records if each.call_id in begun and RECALLED in [leg.why for leg in each.before]
    ]


async def test_calls_sent_ahead_of_a_worker_that_is_killed_run_on_its_successor_and_only_the_one_that_it_ran_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room, setting, seconds in (
        (slots, "RECALL_AFTER_SECONDS", 60.0),
        (slots, "UNREAD_SECONDS", 60.0),
        (slots, "AHEAD_SECONDS", 1.0),
        (workers, "AHEAD_SECONDS", 1.0),
        (route, "AHEAD_SECONDS", 1.0),
    ):
        monkeypatch.setattr(room, setting, seconds)
    journal = tmp_path / "journal"
    async with replica() as server, callers(server) as (caller,), capsule(spec(ADAPTER, heartbeat=NO_BEAT), server, pool=POOL):

        async def step(number: int, seconds: float = 0.0) -> int:
            answer = await caller.call("step", {"number": number, "journal": str(journal), "seconds": seconds}, timeout=30)
            return int(answer.json.list_value.values[0].number_value)

        await ready(caller, 1)
        process = {await step(number) for number in range(100)}.pop()
        slow = asyncio.create_task(step(1000, 30))
        await eventually(lambda: "1000" in journal.read_text().split())
        quick = [asyncio.create_task(step(number)) for number in range(2000, 2005)]
        (worker,) = server.flow.pools[POOL].workers.values()
        await eventually(lambda: worker.own == 6)
        os.kill(process, signal.SIGKILL)
        assert process not in await asyncio.gather(*quick)
        with pytest.raises(WorkerLost, match=r"signal 9|SIGKILL"):
            await slow
        ran = (await asyncio.to_thread(journal.read_text)).split()
        assert sorted(map(int, ran)) == [*range(100), 1000, *range(2000, 2005)]


def recalled(server: Running) -> float:
    """So many calls have come back before they had begun."""
    return counted(server, "snakepit_returned_calls_total", pool=POOL, how="recalled")


async def one_slow_among_quick_ones(caller: Caller, journal: Path, slow: int) -> None:
    """A tool that is known to be quick; then one call of many lasts until all others have ended, which none of them may wait for."""
    quick, done = 60, journal.with_suffix(".done")

    async def step(number: int, until: str = "") -> None:
        await caller.call("step", {"number": number, "journal": str(journal), "until": until}, timeout=30)

    await asyncio.gather(*[step(number) for number in range(100)])
    calls = [asyncio.create_task(step(1000 + n, str(done) if n == slow else "")) for n in range(quick)]
    lasting = calls.pop(slow)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*calls)
        assert not lasting.done()
    except TimeoutError:
        pytest.fail("a quick call waited for the slow one")
    finally:
        done.touch()
        await lasting
    ran = (await asyncio.to_thread(journal.read_text)).split()
    assert sorted(map(int, ran)) == [*range(100), *range(1000, 1000 + quick)]
