"""worker.exclusive: a worker serves one session, or one call that has none, and no other process sees what it left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from snakepit.errors import QueueTimeout
from snakepit.v1 import session_pb2
from snakepit_agent.model import leases
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller
from support.pool_of_one import pid, ready, recycled, workers
from support.simulated_agent import POOL


def exclusive(processes: int, **sections: object) -> object:
    return spec("support.hoarder:Hoarder", worker={"processes": processes, "exclusive": True}, **sections)


async def test_each_session_has_a_worker_of_its_own_and_the_next_one_a_fresh_one(server: Running, caller: Caller) -> None:
    async with capsule(exclusive(2, queue={"timeoutSeconds": 0.3}), server, pool=POOL):  # type: ignore[arg-type]
        await ready(caller, 2)
        seen = {}
        for name in ("a", "b"):
            await caller.create(name)
            seen[name] = {await pid(caller, session_id=name) for _ in range(5)}
        assert len(seen["a"]) == len(seen["b"]) == 1
        assert seen["a"] != seen["b"]
        await caller.create("c")
        with pytest.raises(QueueTimeout):
            await pid(caller, session_id="c")
        assert all(worker.taken for worker in await workers(caller))
        await caller.sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="a"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(not worker.taken and worker.state == 2 for worker in await workers(caller)):
                await asyncio.sleep(0.01)
        assert await pid(caller, session_id="c") not in seen["a"] | seen["b"]
        assert await pid(caller, session_id="b") in seen["b"]
        assert recycled(server, "session") == 1


async def test_the_threads_of_a_worker_serve_its_session_alone(server: Running, caller: Caller, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    threads = {"profile": "thread", "threads": 2, "exclusive": True}
    async with capsule(
        spec("support.hoarder:Shared", worker=threads, session={"ordered": False}, queue={"timeoutSeconds": 0.3}), server, pool=POOL
    ):
        await ready(caller, 1)
        await caller.create("a")
        await caller.create("b")
        waiting = caller.start("wait", {"gate": str(gate)}, session_id="a")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await workers(caller))[0].running:
                await asyncio.sleep(0.01)
        beside = await pid(caller, session_id="a")
        for fields in ({"session_id": "b"}, {}):
            with pytest.raises(QueueTimeout):
                await pid(caller, **fields)
        gate.touch()
        assert (await waiting).json.number_value == beside
        await caller.sessions.DeleteSession(session_pb2.DeleteSessionRequest(pool=POOL, session_id="a"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(not worker.taken and worker.state == 2 for worker in await workers(caller)):
                await asyncio.sleep(0.01)
        assert await pid(caller, session_id="b") != beside


async def test_every_call_without_a_session_has_a_fresh_worker(server: Running, caller: Caller) -> None:
    async with capsule(exclusive(2), server, pool=POOL):  # type: ignore[arg-type]
        await ready(caller, 2)
        pids = await asyncio.gather(*(pid(caller) for _ in range(8)))
        assert len(set(pids)) == 8


async def test_a_session_whose_end_nobody_told_is_found_out(server: Running, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "DOUBT_SECONDS", 0.1)
    beat = {"heartbeat": {"intervalSeconds": 0.1, "timeoutSeconds": 10}}
    async with capsule(exclusive(1, **beat), server, pool=POOL):  # type: ignore[arg-type]
        (worker,) = await ready(caller, 1)
        await caller.create("a")
        assert await pid(caller, session_id="a") == worker.pid
        await server.store.delete_session(POOL, "a")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await workers(caller))[0].incarnation == worker.incarnation:
                await asyncio.sleep(0.01)
