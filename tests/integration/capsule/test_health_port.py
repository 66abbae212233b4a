"""The health port of an agent, which every pod can dial: what a stranger does there costs a few megabytes, and the kubelet is answered."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.attack import python_path

MIB = 1024 * 1024
ROOM = 16.0
"""MiB."""
PROGRAM = """
import asyncio
from snakepit._wire.health import HealthServer
from support.allocated import tell

async def main():
    server = HealthServer("127.0.0.1:0")
    await server.start()
    print(server.address.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()

tell()
asyncio.run(main())
"""


class Served:
    """What serves at `port`, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port

    async def held(self) -> float:
        """MiB that its allocator has given out."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return float(await self.process.stdout.readline())


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    pipe, path = asyncio.subprocess.PIPE, {**os.environ, "PYTHONPATH": python_path()}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdin=pipe, stdout=pipe, env=path)
    assert process.stdout is not None
    try:
        yield Served(process, int(await process.stdout.readline()))
    finally:
        process.kill()
        await process.wait()


async def check(port: int) -> int:
    """As a kubelet: a connection of its own for each probe."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    return answer.status


async def test_messages_that_are_too_large_or_never_end_cost_no_memory() -> None:
    async with served() as server, AsyncExitStack() as stack:
        assert await check(server.port) == health_pb2.HealthCheckResponse.SERVING
        before = await server.held()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        writes = []
        for _ in range(4):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options))
            method = channel.stream_stream("/grpc.health.v1.Health/Check")
            calls = [method() for _ in range(20)]
            writes += [asyncio.create_task(call.write(bytes(3 * MIB))) for call in calls]
        _, waiting = await asyncio.wait(writes, timeout=3)
        assert await check(server.port) == health_pb2.HealthCheckResponse.SERVING
        assert await server.held() - before < ROOM
        for each in waiting:
            each.cancel()
        await asyncio.gather(*writes, return_exceptions=True)


async def test_connections_that_say_nothing_are_few_and_are_ended() -> None:
    async with served() as server:
        assert await check(server.port) == health_pb2.HealthCheckResponse.SERVING
        before = await server.held()
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(400)]
        async with asyncio.timeout(20):
            await asyncio.gather(*[until_closed(reader) for reader, _ in silent])
        assert await server.held() - before < ROOM
        assert await check(server.port) == health_pb2.HealthCheckResponse.SERVING
        for _, writer in silent:
            writer.close()


async def until_closed(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(4096):
            pass
    except ConnectionError:
        return
