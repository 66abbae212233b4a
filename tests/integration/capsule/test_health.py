"""What the kubelet is told of a program: it may ask early, and is never kept waiting once that was ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from snakepit._wire.health import HealthServer

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

Ask = Callable[[str], Awaitable[int]]


@asynccontextmanager
async def health(patience: float) -> AsyncIterator[tuple[HealthServer, Ask]]:
    server = HealthServer("127.0.0.1:0", patience)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def ask(service: str) -> int:
            return int((await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)).status)

        yield server, ask
    await server.stop()


async def test_who_asks_before_the_first_worker_is_warm_is_answered_when_it_is() -> None:
    async with health(patience=600) as (server, ask):
        asked = [asyncio.ensure_future(ask("ready")) for _ in range(3)]
        assert await ask("") == SERVING, "the agent itself is alive, and says so at once"
        assert not any(each.done() for each in asked)
        await server.set_ready(True)
        assert await asyncio.gather(*asked) == [SERVING] * 3


async def test_patience_has_an_end_and_a_start_too() -> None:
    async with health(patience=0.1) as (_, ask):
        assert await ask("ready") == NOT_SERVING
        assert await ask("started") == SERVING, "or the kubelet would start it again and again"


async def test_a_start_is_over_when_the_program_is_ready_for_the_first_time() -> None:
    async with health(patience=600) as (server, ask):
        asked = asyncio.ensure_future(ask("started"))
        assert await ask("") == SERVING
        assert not asked.done()
        await server.set_ready(True)
        assert await asked == SERVING


async def test_who_is_not_alive_says_so() -> None:
    async with health(patience=600) as (server, ask):
        await server.set_alive(False)
        assert await ask("") == NOT_SERVING


async def test_whose_workers_have_all_gone_is_not_ready_at_once() -> None:
    async with health(patience=600) as (server, ask):
        await server.set_ready(True)
        await server.set_ready(False)
        assert await ask("ready") == NOT_SERVING
