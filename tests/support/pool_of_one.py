"""One capsule's pool behind a real control-plane replica: who is there, who ran a call, how many were recycled."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc

from snakepit.v1 import pool_pb2
from snakepit_control_plane.server import Running
from support.control_plane import PATIENCE_SECONDS, Caller, counted
from support.simulated_agent import POOL

READY = pool_pb2.WORKER_STATE_READY


async def pid(caller: Caller, seconds: float = 0.0, **fields: Any) -> int:
    """Which process ran the call."""
    return int((await caller.call("pid", {"seconds": seconds}, **fields)).json.number_value)


async def workers(caller: Caller) -> list[pool_pb2.Worker]:
    response = await caller.pools.ListWorkers(pool_pb2.ListWorkersRequest(pool=POOL), timeout=PATIENCE_SECONDS)
    return list(response.workers)


async def ready(caller: Caller, count: int) -> list[pool_pb2.Worker]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):  # The pool is not known yet.
                if len(found := [w for w in await workers(caller) if w.state == READY]) == count:
                    return found
            await asyncio.sleep(0.01)


def recycled(server: Running, reason: str) -> float:
    """So many workers, as a scrape says it."""
    return counted(server, "snakepit_worker_recycles_total", pool=POOL, reason=reason)
