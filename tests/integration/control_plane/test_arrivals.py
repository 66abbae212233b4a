"""Plain requests that begin and don't come to an end: each is told so by the limit's name, and nothing of it is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator

import grpc
import pytest

from hostile.wire import DATA, HEADERS, dial, frame, headers, opening
from snakepit._wire.status import from_rpc_error
from snakepit._wire.targets import parse_target
from snakepit.errors import DeadlineExceeded, InvalidArguments, SnakepitError, Started
from snakepit.v1 import router_pb2
from snakepit_control_plane.server import SERVICES, Running
from support.attack import attacker
from support.control_plane import Caller, eventually, replica
from support.simulated_agent import POOL, simulated_agent

PLAIN = [
    f"/{service.full_name}/{method.name}"
    for name, service in SERVICES.items()
    for method in service.methods
    if name not in ("LinkService", "FleetService")  # These have their own time for the first message, or ask for a token before.
]


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Running, grpc.aio.Channel]]:
    async with replica(max_request_seconds=1) as server, attacker(server) as channel:
        yield server, channel


async def refusal(channel: grpc.aio.Channel, path: str, *, ends: bool = False) -> SnakepitError:
    """Of an RPC that is opened and sends no message."""
    call = channel.stream_stream(path)()
    await call.wait_for_connection() if not ends else await call.done_writing()
    try:
        async with asyncio.timeout(20):
            assert await call.read() is grpc.aio.EOF, path
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError(f"{path} ended without an error")


async def test_whoever_sends_no_message_is_told_so_by_every_method_that_waits_for_one() -> None:
    async with served() as (server, channel):
        for error in await asyncio.gather(*(refusal(channel, path) for path in PLAIN)):
            assert isinstance(error, DeadlineExceeded), error
            assert error.message == "the request was not whole 1 s after it began, as maxRequestSeconds asks: send its message at once"
            assert error.details == {"limit": "maxRequestSeconds", "seconds": "1"}
            assert error.started is Started.NO
        await eventually(lambda: len(server.arrivals) == 0, "none is awaited any more")


async def test_whoever_ends_without_a_message_is_told_so_at_once() -> None:
    paths = [path for path in PLAIN if "ServerReflection" not in path]
    async with replica(max_request_seconds=3600) as server, attacker(server) as channel:
        for error in await asyncio.gather(*(refusal(channel, path, ends=True) for path in paths)):
            assert isinstance(error, InvalidArguments), error
            assert error.message.startswith("no message came, and this method has one"), error


async def test_a_message_of_which_a_byte_is_missing_is_let_go_and_others_are_answered_meanwhile() -> None:
    async with served() as (server, channel), simulated_agent(server.address):
        begun = opening() + frame(HEADERS, 4, 1, headers("/snakepit.v1.RouterService/Execute"))
        begun += frame(DATA, 0, 1, b"\x00" + (100).to_bytes(4, "big") + bytes(99))
        with await asyncio.to_thread(dial, parse_target(server.address)[1], begun) as sock:
            await eventually(lambda: len(server.arrivals) == 1, "its message is awaited")
            await Caller(channel).call("echo", {"n": 1})
            await eventually(lambda: len(server.arrivals) == 0, "it is awaited no more")
            assert b"maxRequestSeconds" in await asyncio.to_thread(read, sock)


def read(sock: socket.socket) -> bytes:
    """Until its status has come."""
    sock.settimeout(10)
    said = b""
    while b"grpc-message" not in said and (more := sock.recv(1 << 16)):
        said += more
    return said


async def test_a_call_that_runs_longer_than_a_request_may_take_to_come_is_not_ended_for_it() -> None:
    async with served() as (server, channel), simulated_agent(server.address) as agent:
        call = Caller(channel).start("hang")
        await eventually(lambda: len(agent.running) == 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.shield(call)
        call.cancel()


async def test_requests_that_are_taken_back_before_they_have_come_leave_nothing_and_no_line(caplog: pytest.LogCaptureFixture) -> None:
    gc.collect()  # Or calls that an earlier test gave up are told of in this one.
    caplog.clear()
    async with replica(max_request_seconds=3600) as server, attacker(server) as channel:
        for _ in range(10):
            calls = [channel.stream_unary("/snakepit.v1.RouterService/Execute")() for _ in range(100)]
            await asyncio.gather(*(call.wait_for_connection() for call in calls))
            await eventually(lambda: len(server.arrivals) > 0)
            for call in calls:
                call.cancel()
            await eventually(lambda: len(server.arrivals) == 0, "none is awaited any more")
        request = router_pb2.ExecuteRequest(pool=POOL, tool="echo").SerializeToString()
        calls = [channel.unary_unary("/snakepit.v1.RouterService/Execute")(request) for _ in range(300)]
        for call in calls:
            call.cancel()
        await eventually(lambda: len(server.arrivals) == 0, "none is awaited any more")
    assert [each.getMessage() for each in caplog.records if each.levelname != "INFO"] == []
