"""What slow readers cost the programs between them and their tools, and what those that leave make them say, where each is a process."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import snakepit
from snakepit.v1 import common_pb2, router_pb2, router_pb2_grpc
from support.dev_server import Dev, pool_file, ready_dev
from support.large import MIB, NARROW, POOL

pytestmark = pytest.mark.timeout(300)

READERS = 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Dev]:
    threads = f"profile: thread, threads: {READERS + 2}"
    with ready_dev(pool_file(tmp_path, "large", "support.bulky:Shared", worker=threads, replicas="1")) as program:
        yield program


def resident(pid: int) -> float:
    """MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / MIB


def agent(server: Dev) -> int:
    (pid,) = server.running("snakepit_agent")
    return pid


async def until_still(pool: snakepit.Pool) -> int:
    """How many chunks were made when no more are being made."""
    made = -1
    async with asyncio.timeout(30):
        while made != (now := await pool.call("produced", timeout=10)):
            made = now
            await asyncio.sleep(1.0)  # A tool that is not held back makes hundreds in this time.
    return made


UNREAD = 2 * MIB
"""What may be under way to one reader, in programs and in the kernel's buffers. Besides, a chunk each at the reader, agent and worker."""


class Plain:
    """A stream of `endless` by plain gRPC, as the SDK's."""

    def __init__(self, channel: grpc.aio.Channel, size: int) -> None:
        arguments = common_pb2.Payload(data=b'{"size":%d}' % size)
        request = router_pb2.ExecuteStreamRequest(pool=POOL, tool="endless", payload=arguments)
        self._rpc = router_pb2_grpc.RouterServiceStub(channel).ExecuteStream(request, timeout=60)

    async def __anext__(self) -> object:
        return await self._rpc.read()

    async def aclose(self) -> None:
        self._rpc.cancel()


@pytest.mark.parametrize(
    ("way", "size"),
    [
        ("lanes", 1000),
        ("lanes", 64 * 1024),
        ("lanes", MIB),
        ("no lanes", 1000),
        ("no lanes", 128 * 1024),
        ("plain gRPC", 1000),
        ("plain gRPC", 128 * 1024),
    ],
)
async def test_each_slow_reader_costs_control_plane_and_agent_less_than_a_mebibyte_and_holds_up_nobody(
    server: Dev, way: str, size: int
) -> None:
    plain = way == "plain gRPC"
    programs = {"control plane": server.process.pid, "agent": agent(server)}
    client = snakepit.Client(server.server, lanes=way != "no lanes")
    async with client, grpc.aio.insecure_channel(server.server, options=NARROW) as channel:
        pool = client.pool("large")
        assert [len(chunk) async for chunk in pool.stream("chunks", {"sizes": [size] * 4}, timeout=30)] == [size] * 4
        before = {name: resident(pid) for name, pid in programs.items()}
        async with contextlib.AsyncExitStack() as stack:
            streams: list[Any] = [
                Plain(channel, size) if plain else pool.stream("endless", {"size": size}, timeout=60) for _ in range(READERS)
            ]
            for stream in streams:
                stack.push_async_callback(stream.aclose)
                await anext(stream)
            made = await until_still(pool)
            assert made <= READERS * (UNREAD // size + 3)
            cost = {name: (resident(pid) - before[name]) / READERS for name, pid in programs.items()}
            assert max(cost.values()) < 1, cost
            assert [len(chunk) async for chunk in pool.stream("chunks", {"sizes": [size] * 50}, timeout=30)] == [size] * 50
            more = await pool.call("produced", timeout=10) - made
            assert not more, "somebody else's reading lets nobody else's tool go on"


async def test_who_leaves_a_stream_at_any_moment_leaves_no_traceback_in_any_log(server: Dev) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with snakepit.Client(server.server) as client:
        pool = client.pool("large")

        async def leave() -> None:
            stream = pool.stream("endless", {"size": chance.choice([200, 20_000, 300_000])}, timeout=60)
            for _ in range(chance.randint(1, 5)):
                await anext(stream)
            await asyncio.sleep(chance.uniform(0, 0.003))
            await stream.aclose()

        for _ in range(100):
            await asyncio.gather(*(leave() for _ in range(16)))
        assert await pool.call("size", {"value": [1]}, timeout=30) == 1
    assert "Traceback" not in server.output
