"""Sessions through the SDK in local mode: where they stick, what they keep, and what a kill -9 costs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

import snakepit
from snakepit import Client, Pool, Session, Started
from support.dev_server import Dev
from support.tasks import task


async def worker_of(pool: Pool, session: Session) -> snakepit.WorkerInfo:
    bound = (await session.info()).incarnation
    return next(worker for worker in await pool.workers() if worker.incarnation == bound)


async def until_ready(pool: Pool, workers: int, without: str = "") -> None:
    async with asyncio.timeout(20):
        while True:
            ready = [each.incarnation for each in await pool.workers() if each.state == "ready" and each.liveness == "live"]
            if len(ready) >= workers and without not in ready:
                return
            await asyncio.sleep(0.01)


async def test_creating_a_session_twice_gives_the_same_one(pool: Pool) -> None:
    session = pool.session("twice", metadata={"who": "me"}, ttl_seconds=60)
    assert await session.create()
    first = await session.info()
    assert not await pool.session("twice").create()
    assert (await session.info()).uid == first.uid
    assert first.metadata == {"who": "me"}
    assert first.ttl_seconds == 60
    assert (await session.touch()).expires >= first.expires
    assert "twice" in {each.id for each in await pool.sessions()}
    assert await session.delete()
    assert not await session.delete()
    with pytest.raises(snakepit.SessionNotFound, match="twice") as caught:
        await session.call("echo", timeout=10)
    assert caught.value.started is Started.NO


async def test_state_has_versions_and_compare_and_set_reports_conflicts(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        state = session.state
        assert await state.get("a") is None
        assert await state.get("a", default=7) == 7
        assert await state.compare_and_set("a", {"x": [1]}, expected_version=0)
        assert await state.get_versioned("a") == ({"x": [1]}, 1)
        assert not await state.compare_and_set("a", 2, expected_version=0)
        assert await state.set("a", b"bytes") == 2
        assert await state.get("a") == b"bytes"
        assert await state.keys() == ["a"]
        assert await state.delete("a")
        assert not await state.delete("a")
        assert await state.keys() == []


async def test_the_caller_and_the_tool_see_the_same_state(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        assert await session.call("remember", {"key": "a", "value": [1, 2]}, timeout=10) == 1
        assert await session.state.get("a") == [1, 2]
        await session.state.set("b", "from outside")
        assert await session.call("recall", {"key": "b"}, timeout=10) == "from outside"


async def test_a_session_sticks_to_its_worker(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        processes = {(await session.call("process", timeout=10))[0] for _ in range(12)}
        assert len(processes) == 1
        assert (await session.info()).epoch == 1


async def test_two_simultaneous_first_calls_meet_on_one_worker(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        first, second = await asyncio.gather(session.call("process", timeout=10), session.call("process", timeout=10))
        assert first[0] == second[0]
        assert (await session.info()).epoch == 1


async def test_rebinding_moves_on_with_the_next_epoch_and_keeps_state(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        await session.call("remember", {"key": "a", "value": 1}, timeout=10)
        await session.rebind()
        assert await session.call("recall", {"key": "a"}, timeout=10) == 1
        assert (await session.info()).epoch == 2


async def test_a_killed_workers_call_is_lost_its_capacity_comes_back_and_the_session_goes_on(pool: Pool) -> None:
    async with pool.session(delete=True) as session:
        await session.call("remember", {"key": "a", "value": 1}, timeout=10)
        victim = await worker_of(pool, session)
        running = asyncio.create_task(session.call("hold", {"seconds": 30}, timeout=60))
        async with asyncio.timeout(10):
            while not await session.state.get("held"):
                await asyncio.sleep(0.005)
        killed = time.monotonic()
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(snakepit.WorkerLost) as caught:
            await running
        assert time.monotonic() - killed < 10
        assert caught.value.started is Started.MAYBE
        assert caught.value.details["how"] == "signal 9"
        await until_ready(pool, 4, without=victim.incarnation)
        assert time.monotonic() - killed < 15
        assert await session.call("recall", {"key": "a"}, timeout=10) == 1
        assert (await session.info()).incarnation != victim.incarnation


async def test_a_strict_session_is_told_why_its_worker_is_gone(pool: Pool) -> None:
    async with pool.session(affinity="strict_queue", delete=True) as session:
        await session.call("remember", {"key": "a", "value": 1}, timeout=10)
        victim = await worker_of(pool, session)
        os.kill(victim.pid, signal.SIGKILL)
        await until_ready(pool, 4, without=victim.incarnation)
        with pytest.raises(snakepit.SessionWorkerUnavailable) as caught:
            await session.call("recall", {"key": "a"}, timeout=10)
        assert caught.value.details["why"] == "crashed"
        await session.rebind()
        assert await session.call("recall", {"key": "a"}, timeout=10) == 1


async def test_a_strict_session_fails_fast_while_its_worker_is_busy_with_others(pool: Pool) -> None:
    async with pool.session(affinity="strict_fail_fast", delete=True) as session:
        await session.call("process", timeout=10)
        async with contextlib.AsyncExitStack() as busy:
            for _ in range(4):
                await busy.enter_async_context(task(pool.call("spin", timeout=60)))
            async with asyncio.timeout(20):
                while (await pool.info()).busy_slots != 4:
                    await asyncio.sleep(0.005)
            with pytest.raises(snakepit.WorkerBusy):
                await session.call("process", timeout=10)


@pytest.mark.parametrize("part", ["snakepit_agent.main", "snakepit_worker.keeper"], ids=["agent", "keeper"])
async def test_a_killed_capsule_is_made_again_and_sessions_survive_it(server: Dev, client: Client, part: str) -> None:
    pool = client.pool("sample")
    async with pool.session(delete=True) as session:
        await session.call("remember", {"key": "a", "value": 1}, timeout=10)
        victim = await worker_of(pool, session)
        os.kill(process_of(server, victim.id.rpartition("/")[0], part), signal.SIGKILL)
        await until_ready(pool, 4, without=victim.incarnation)
        assert await session.call("recall", {"key": "a"}, timeout=20) == 1
        assert (await session.info()).worker != victim.id


def process_of(server: Dev, capsule: str, part: str) -> int:
    """The agent's or keeper's process of a capsule; both share a run folder."""
    environments = {pid: _environment(pid) for pid in server.descendants()}
    agent = next(pid for pid, own in environments.items() if own.get("SNAKEPIT_CAPSULE") == capsule and _runs(pid, "snakepit_agent.main"))
    run_dir = environments[agent]["SNAKEPIT_RUN_DIR"]
    return next(pid for pid, own in environments.items() if own.get("SNAKEPIT_RUN_DIR") == run_dir and _runs(pid, part))


def _environment(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/environ").read_text()
    except OSError:  # it has ended meanwhile
        return {}
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)  # type: ignore[misc]


def _runs(pid: int, module: str) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-2:-1] == [module]
    except OSError:  # it has ended meanwhile
        return False
