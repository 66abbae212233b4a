"""A gRPC server of ours: each step of a call ends in the loop that it belongs to, whichever hears of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is compiled, and has no stubs

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


class Steps:
    """A batch as grpcio's coroutine has it: `core` tells how it went, and then what came is parsed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, unread: Exception | None = None) -> None:
        self.core: Any = None
        self.gave_back = False
        self._unread = unread
        monkeypatch.setattr(serving, "_execute_batch", self.execute)

    async def execute(self, call: object, operations: object, loop: Any) -> None:
        self.core = loop.create_future()
        await self.core
        self.gave_back = True
        if self._unread is not None:
            raise self._unread

    def start(self) -> asyncio.Future[None]:
        return serving._to_its_end(None, (), asyncio.get_running_loop())  # noqa: SLF001  # what grpcio is given


UNREAD, GONE = ValueError("it can't be parsed"), ConnectionError("the stream was reset")


@pytest.mark.parametrize("unread", [None, UNREAD], ids=["parsed", "unread"])
@pytest.mark.parametrize("failed", [None, GONE], ids=["done", "failed"])
async def test_whoever_waits_for_a_batch_is_told_how_it_went(
    monkeypatch: pytest.MonkeyPatch, failed: Exception | None, unread: Exception | None
) -> None:
    steps = Steps(monkeypatch, unread)
    ended = steps.start()
    assert not ended.done()
    if failed is None:
        steps.core.set_result(None)
    else:
        steps.core.set_exception(failed)
    assert steps.gave_back
    assert ended.exception() is (failed or unread)


async def test_a_batch_that_nobody_waits_for_gives_back_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps(monkeypatch)
    steps.start().cancel()
    assert not steps.core.cancelled()
    steps.core.set_result(None)
    assert steps.gave_back


def test_of_a_grpcio_that_nobody_has_looked_at_nothing_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin() -> None:
        await serving.server().stop(0)

    monkeypatch.setattr(cygrpc, "execute_batch", "its own")
    monkeypatch.setattr(grpc, "__version__", "1.86.0")
    asyncio.run(begin())
    assert cygrpc.execute_batch == "its own"
