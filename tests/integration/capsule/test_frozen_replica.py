"""A control-plane process that is stopped for a while, as by a frozen node: its capsules have done nothing wrong, and lose nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from snakepit.v1 import pool_pb2
from support.capsules import At, capsule, frozen, spec
from support.control_plane import PATIENCE_SECONDS, Caller
from support.ports import free_port
from support.simulated_agent import POOL

TIMEOUT_SECONDS = 3.0
HEARTBEAT = {"intervalSeconds": 0.2, "timeoutSeconds": TIMEOUT_SECONDS, "missThreshold": 3}


@asynccontextmanager
async def control_plane(**environment: str) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    """The program itself: its port and its process."""
    port = free_port()
    settings = {"SNAKEPIT_LISTEN": f"127.0.0.1:{port}", "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_LINGER_SECONDS": "0", **environment}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "snakepit_control_plane.main", env={**os.environ, **settings})
    try:
        yield port, process
    finally:
        process.kill()
        await process.wait()


async def lives(caller: Caller) -> dict[str, str]:
    """The pool's ready workers and their incarnations; none while it is not known yet."""
    try:
        response = await caller.pools.ListWorkers(pool_pb2.ListWorkersRequest(pool=POOL), timeout=PATIENCE_SECONDS, wait_for_ready=True)
    except grpc.aio.AioRpcError:
        return {}
    return {
        w.id: w.incarnation for w in response.workers if w.state == pool_pb2.WORKER_STATE_READY and w.liveness == pool_pb2.LIVENESS_LIVE
    }


async def until_live(caller: Caller, count: int) -> dict[str, str]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := await lives(caller)) != count:
            await asyncio.sleep(0.01)
    return found


async def test_a_replica_that_was_stopped_takes_its_own_silence_for_nobody_elses() -> None:
    pool = spec("support.sample:Sample", worker={"processes": 2}, heartbeat=HEARTBEAT)
    async with (
        control_plane() as (port, process),
        capsule(pool, At(port), pool=POOL),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        caller = Caller(channel)
        before = await until_live(caller, 2)
        running = caller.start("sleep", {"seconds": 2 * TIMEOUT_SECONDS + 0.3})
        await caller.call("echo", {"value": 1})  # So that the one before it has begun.
        async with frozen(process.pid):
            await asyncio.sleep(2 * TIMEOUT_SECONDS)  # What is tested is the length of this.
        assert (await running).json.string_value == "slept"
        assert await until_live(caller, 2) == before, "a healthy capsule was given up"
        # The verdict would have come by now: it listens again for as long as silence may last.
        await asyncio.sleep(TIMEOUT_SECONDS + 0.5)
        assert await until_live(caller, 2) == before
