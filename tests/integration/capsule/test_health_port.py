"""The health port of an agent, which every pod can dial: what a stranger does there costs a few megabytes, and the kubelet is answered."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

MIB = 1024 * 1024
ROOM = 32 * MIB
PROGRAM = """
import asyncio
from snakepit._wire.health import HealthServer

async def main():
    server = HealthServer("127.0.0.1:0")
    await server.start()
    print(server.address.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

pytestmark = pytest.mark.timeout(50)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[int, int]]:
    """The port, and the process that serves there."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), process.pid
    finally:
        process.kill()
        await process.wait()


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def check(port: int) -> int:
    """As a kubelet: a connection of its own for each probe."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return answer.status


async def test_messages_that_are_too_large_or_never_end_cost_no_memory() -> None:
    async with served() as (port, pid), AsyncExitStack() as stack:
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING
        before = rss(pid)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        writes = []
        for _ in range(4):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options))
            method = channel.stream_stream("/grpc.health.v1.Health/Check")
            calls = [method() for _ in range(20)]
            writes += [asyncio.create_task(call.write(bytes(3 * MIB))) for call in calls]
        _, waiting = await asyncio.wait(writes, timeout=3)
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING
        assert rss(pid) - before < ROOM
        for each in waiting:
            each.cancel()
        await asyncio.gather(*writes, return_exceptions=True)


async def test_connections_that_say_nothing_are_few_and_are_ended() -> None:
    async with served() as (port, pid):
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING
        before = rss(pid)
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
        async with asyncio.timeout(20):
            await asyncio.gather(*[until_closed(reader) for reader, _ in silent])
        assert rss(pid) - before < ROOM
        assert await check(port) == health_pb2.HealthCheckResponse.SERVING
        for _, writer in silent:
            writer.close()


async def until_closed(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        return
