"""How a pool's workers run: one call at a time in the main thread, or several in threads; many of them, and one in the place of another."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import snakepit
from snakepit import Client, WorkerInfo
from support.dev_server import Dev, dev, pool_file

CPUS = len(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("profiles")
    files = [
        pool_file(folder, "alone", "support.profiles:Alone", replicas="1"),
        pool_file(folder, "together", "support.profiles:Together", worker="profile: thread, threads: 4", replicas="1"),
        pool_file(folder, "half", "support.profiles:Together", worker="profile: thread, threads: 1", replicas="1"),
        pool_file(folder, "refused", "support.profiles:Alone", worker="profile: thread", replicas="1"),
        pool_file(folder, "hindered", "support.forkless:Connected", replicas="1"),
        pool_file(folder, "hundred", "support.profiles:Alone", worker="processes: 100", replicas="1"),
    ]
    with dev(*files) as program:
        yield program


async def workers(client: Client, pool: str, count: int = 1, state: str = "ready") -> list[WorkerInfo]:
    """Wait for so many in that state."""
    async with asyncio.timeout(60):
        while True:
            try:
                found = [each for each in await client.pool(pool).workers() if each.state == state]
            except (snakepit.ServerUnavailable, snakepit.PoolNotFound):
                found = []
            if len(found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_the_process_profile_runs_one_call_at_a_time_in_the_main_thread_with_one_numeric_thread(server: Dev) -> None:
    async with Client(server.server) as client:
        (worker,) = await workers(client, "alone")
        pool = client.pool("alone")
        spells = sorted(await asyncio.gather(*(pool.call("spell", timeout=20) for _ in range(8))))
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spells))
        assert await pool.call("who", timeout=20) == [worker.pid, True, "1"]


async def test_the_thread_profile_runs_as_many_calls_as_it_has_slots_at_once(server: Dev) -> None:
    async with Client(server.server) as client:
        (worker,) = await workers(client, "together")
        assert worker.slots == 4
        pool = client.pool("together")
        await asyncio.gather(*(pool.call("meet", timeout=20) for _ in range(4)))
        assert len(set(await asyncio.gather(*(pool.call("meet_later", timeout=20) for _ in range(4))))) == 1


@pytest.mark.parametrize(("pool", "threads"), [("together", max(1, CPUS // 4)), ("half", CPUS)], ids=["four slots", "one slot"])
async def test_the_thread_profile_shares_the_cpus_out_between_its_slots(server: Dev, pool: str, threads: int) -> None:
    async with Client(server.server) as client:
        (worker,) = await workers(client, pool)
        assert await client.pool(pool).call("who", timeout=20) == [worker.pid, False, str(threads)]


async def test_the_thread_profile_is_refused_to_an_adapter_that_does_not_say_it_is_thread_safe(server: Dev) -> None:
    async with Client(server.server) as client:
        (worker, *_) = await workers(client, "refused", state="backoff")
        assert worker.reason == "AdapterInvalid"
        assert "adapter support.profiles:Alone is not marked thread-safe, and worker.profile is thread" in worker.message
        with pytest.raises(snakepit.PoolNotReady, match="set thread_safe = True on it if its tools may run at the same time"):
            await client.pool("refused").call("who", timeout=20)


async def test_workers_that_are_not_forked_though_they_should_be_say_why_while_they_serve(server: Dev) -> None:
    async with Client(server.server) as client:
        (worker,) = await workers(client, "hindered")
        assert worker.reason == "NotForked"
        assert "leaves 1 open socket (127.0.0.1:9), which a fork would break" in worker.message
        assert "set worker.startup: spawn" in worker.message
        assert await client.pool("hindered").call("pid", timeout=20) == worker.pid


async def test_a_hundred_workers_become_ready_and_a_killed_one_is_replaced_by_a_fork_of_the_same_process(server: Dev) -> None:
    async with Client(server.server) as client:
        before = await workers(client, "hundred", 100)
        assert len({each.pid for each in before}) == 100
        victim = before[50]
        image = image_of(victim.pid)
        assert b"snakepit_worker.zygote" in image
        os.kill(victim.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            after = before
            while victim.incarnation in {each.incarnation for each in after}:
                after = await workers(client, "hundred", 100)
        (successor,) = {each.pid for each in after} - {each.pid for each in before}
        assert next(each for each in after if each.pid == successor).id == victim.id
        assert image_of(successor) == image


def image_of(pid: int) -> bytes:
    """What a fork shares with what it was forked from: the command, with the number of a descriptor in it."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()
