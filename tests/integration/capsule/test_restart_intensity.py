"""A worker that can't start, again and again: what it says of itself, what callers are told, and that the others serve."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from snakepit.errors import PoolNotReady
from snakepit.v1 import pool_pb2
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller
from support.pool_of_one import pid, ready, workers
from support.simulated_agent import POOL

BACKOFF = pool_pb2.WORKER_STATE_BACKOFF


async def failing(caller: Caller, count: int) -> list[pool_pb2.Worker]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := [w for w in await workers(caller) if w.state == BACKOFF and w.reason == "SetupFailed"]) < count:
            await asyncio.sleep(0.01)
        return found


async def test_a_worker_that_can_t_start_tells_its_traceback_while_the_others_serve_and_starts_when_it_can(
    server: Running, caller: Caller, tmp_path: Path
) -> None:
    shut = tmp_path / "shut"
    pool = spec("support.hoarder:Hoarder", worker={"processes": 3}, restart={"maxRestarts": 0})
    async with capsule(pool, server, pool=POOL, keeper=False) as local:
        await local.start_keeper(SHUT=str(shut))
        first, second, third = await ready(caller, 3)
        shut.touch()
        for worker in (first, second):
            os.kill(worker.pid, signal.SIGKILL)
        told, alike = await failing(caller, 2)
        assert told.message == "RuntimeError: the licence has expired"
        assert told.traceback.startswith("Traceback")
        assert told.traceback.endswith("RuntimeError: the licence has expired")
        assert not alike.traceback, "once in a capsule is enough"
        assert await pid(caller) == third.pid
        shut.unlink()
        assert len(await ready(caller, 3)) == 3


async def test_callers_of_a_pool_whose_workers_can_t_start_are_told_why(server: Running, caller: Caller) -> None:
    pool = spec("support.sample:BadSetup", restart={"maxRestarts": 0})
    async with capsule(pool, server, pool=POOL):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while POOL not in server.flow.pools or not server.flow.pools[POOL].workers:
                await asyncio.sleep(0.01)
        await failing(caller, 1)
        with pytest.raises(PoolNotReady, match="SetupFailed: RuntimeError: no model here"):
            await caller.call("echo")
