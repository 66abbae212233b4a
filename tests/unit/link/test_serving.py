"""A gRPC server of ours: each step of a call ends in the loop that it belongs to, whichever hears of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from snakepit._wire import serving

PATIENCE_SECONDS = 15.0
ALONE = [("grpc.use_local_subchannel_pool", 1)]
MESSAGES = [b"%d" % number for number in range(200)]


async def echo(request: bytes, context: Any) -> bytes:
    return request


@asynccontextmanager
async def served() -> AsyncIterator[grpc.aio.Channel]:
    server = serving.server(options=[("grpc.so_reuseport", 0)])
    methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=ALONE) as channel:
        yield channel
    await server.stop(0)


def test_all_of_two_loops_calls_end_though_one_of_them_hears_of_all() -> None:
    """In two threads; a loop in debug mode takes nothing from a thread that isn't its own."""
    found: list[list[bytes]] = []

    async def call() -> None:
        async with served() as channel, asyncio.timeout(PATIENCE_SECONDS):
            echoed = channel.unary_unary("/test/Echo")
            found.append([await echoed(message) for message in MESSAGES])

    threads = [threading.Thread(target=asyncio.run, args=(call(),), kwargs={"debug": True}, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert found == [MESSAGES, MESSAGES]
