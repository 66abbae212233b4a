"""Two control-plane replicas over a real Redis, and real capsules that link to both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from snakepit.v1 import pool_pb2
from snakepit_control_plane.server import Running, make_store
from support.capsules import At, LocalCapsule, capsule, spec
from support.control_plane import PATIENCE_SECONDS, Caller, calling, eventually, replica
from support.redis_server import RedisServer, redis_server
from support.simulated_agent import POOL

BEAT = {"intervalSeconds": 0.2, "timeoutSeconds": 3, "missThreshold": 3}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


class World:
    """`servers`: the replicas; `sides`: a caller of each; `journal`: what the tools have written, and `open` lets them through a gate."""

    def __init__(self, servers: list[Running], sides: list[Caller], folder: Path) -> None:
        self.servers, self.sides, self._folder = servers, sides, folder
        self.journal = str(folder / "journal")
        self.pool = POOL

    def lines(self) -> list[str]:
        path = Path(self.journal)
        return path.read_text().splitlines() if path.exists() else []

    def ran(self) -> list[str]:
        """What began and ended, in order."""
        return [line for line in self.lines() if line.startswith(("begin", "end "))]

    def gate(self, name: str = "gate") -> str:
        return str(self._folder / name)

    def open(self, name: str = "gate") -> None:
        Path(self.gate(name)).touch()

    def wait(self, side: int, text: str, gate: str = "gate", **fields: Any) -> asyncio.Task[Any]:
        """A call that runs until its gate is opened."""
        arguments = {"journal": self.journal, "text": text, "gate": self.gate(gate)}
        return self.sides[side].start("wait", arguments, **fields)

    async def until(self, line: str) -> None:
        await eventually(lambda: line in self.lines(), line)

    @contextlib.asynccontextmanager
    async def capsule(self, index: int = 0, processes: int = 2, *later: At, **options: Any) -> AsyncIterator[LocalCapsule]:
        """A capsule whose workers are known to both replicas; its agent dials those too that come `later`."""
        before = [len(await self.workers(side)) for side in self.sides]
        worker = options.pop("worker", {"processes": processes})
        pool_spec = spec("support.diary:Diary", worker=worker, **{"heartbeat": BEAT, "drain": {"killAfterSeconds": 1}, **options})
        async with capsule(pool_spec, *self.servers, *later, pool=POOL, capsule=f"sample-{index}", pod_uid=f"uid-{index}") as local:
            for side, known in zip(self.sides, before, strict=True):
                await self.until_ready(side, known + (1 if "threads" in worker else processes))
            yield local

    async def workers(self, side: Caller) -> list[pool_pb2.Worker]:
        with contextlib.suppress(grpc.aio.AioRpcError):  # The pool is not known yet.
            response = await side.pools.ListWorkers(pool_pb2.ListWorkersRequest(pool=POOL))
            return [worker for worker in response.workers if worker.state == pool_pb2.WORKER_STATE_READY]
        return []

    async def until_ready(self, side: Caller, count: int, without: str = "") -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                ready = {worker.incarnation for worker in await self.workers(side)}
                if len(ready) >= count and without not in ready:
                    return
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(redis: RedisServer, tmp_path: Path) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(replica(make_store(redis.url))) for _ in range(2)]
        sides = [await stack.enter_async_context(calling(each.address)) for each in servers]
        yield World(servers, sides, tmp_path)
    redis.command("FLUSHALL")
