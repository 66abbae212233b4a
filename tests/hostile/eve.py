"""Somebody with a token that is right, who knows gRPC, links and lanes, and means harm."""

from __future__ import annotations

import snakepit._grpc_threads  # noqa: F401  # before gRPC is loaded

# isort: split
import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import msgspec

from hostile.wire import dial, hung_up, message, send
from snakepit._wire.status import from_rpc_error
from snakepit.v1 import (
    common_pb2,
    link_pb2,
    link_pb2_grpc,
    pool_pb2,
    router_pb2,
    router_pb2_grpc,
)

POOL = "default/sample"
MIB = 1024 * 1024
PATIENCE_SECONDS = 15.0
AT_A_TIME = 64
OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Eve:
    """A client of its own subject, with the ways in that every client has."""

    def __init__(self, target: dict[str, Any], scale: float, chance: random.Random) -> None:
        self.target = target
        self.chance = chance
        self._scale = scale
        self.server = f"127.0.0.1:{target['grpc']}"
        self.metadata = (("authorization", f"Bearer {target['tokens']['eve']}"),)

    def _count(self, number: int) -> int:
        return max(1, int(number * self._scale))

    # ---- ways in

    def _channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.server, options=OPTIONS)

    async def _execute(self, channel: grpc.aio.Channel, *, timeout: float = PATIENCE_SECONDS, **fields: Any) -> Any:
        """The answer, or the SnakepitError."""
        request = router_pb2.ExecuteRequest(**{"pool": POOL, "tool": "echo", **fields})
        return await answered(router_pb2_grpc.RouterServiceStub(channel).Execute(request, timeout=timeout, metadata=self.metadata))

    @contextlib.asynccontextmanager
    async def _link(self, channel: grpc.aio.Channel, *, lane: bool = True) -> AsyncIterator[tuple[link_pb2.Welcome, Any]]:
        """A link's Welcome, and its lane or stream."""
        stream = link_pb2_grpc.LinkServiceStub(channel).Link(metadata=self.metadata)
        await stream.write(hello())
        first: Any = await stream.read()
        welcome = first.frames[0].welcome
        try:
            if lane:
                sock = await asyncio.to_thread(show, welcome.lane.port, welcome.lane.ticket)
                with sock:
                    yield welcome, sock
            else:
                await stream.write(link_pb2.LinkRequest())
                yield welcome, stream
        finally:
            stream.cancel()

    async def _said_on_a_lane(self, *parts: bytes | link_pb2.LinkRequest) -> bool:
        """Is who says so hung up?"""
        async with self._channel() as channel, self._link(channel) as (_, sock):
            for part in parts:
                await asyncio.to_thread(send if isinstance(part, bytes) else message, sock, part)
            return await asyncio.to_thread(hung_up, sock, 1.0)


async def answered(call: Awaitable[Any]) -> Any:
    """The answer, or what went wrong."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)


async def many(one: Callable[[int], Awaitable[None]], count: int, at_a_time: int = AT_A_TIME) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*[work() for _ in range(at_a_time)])


def hello(role: int = link_pb2.ROLE_CLIENT) -> link_pb2.LinkRequest:
    about = link_pb2.Capsule(name="sample-0", incarnation="made up", pool=POOL, pod_uid="pod-uid") if role == link_pb2.ROLE_AGENT else None
    return link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=role, capsule=about))])  # type: ignore[arg-type]


def called(id_: int, tool: str = "echo", value: object = 1, **fields: Any) -> link_pb2.Call:
    arguments = common_pb2.Payload(data=msgspec.json.encode({"value": value} if tool == "echo" else {"seconds": value}))
    return link_pb2.Call(id=id_, call_id=f"e{id_}", pool=POOL, tool=tool, arguments=arguments, **fields)


def call_frame(id_: int, tool: str = "echo", value: object = 1, **fields: Any) -> link_pb2.Frame:
    return link_pb2.Frame(call=called(id_, tool, value, **fields))


def pool_report() -> link_pb2.Report:
    return link_pb2.Report(workers=[pool_pb2.Worker(id="sample-0/0", incarnation="x", state=pool_pb2.WORKER_STATE_STOPPED)])


def field(number: int, data: bytes) -> bytes:
    """Of a protobuf message, by hand."""
    size, head = len(data), bytearray((number << 3 | 2,))
    while size >= 128:
        head.append(size % 128 + 128)
        size //= 128
    head.append(size)
    return bytes(head) + data


def show(port: int, ticket: bytes) -> socket.socket:
    sock = dial(port, ticket)
    sock.settimeout(PATIENCE_SECONDS)
    assert len(sock.recv(16, socket.MSG_WAITALL)) == 16
    return sock


def sip(sock: socket.socket, seconds: float = 0.001) -> None:
    """Read what has come."""
    sock.settimeout(seconds)
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            continue
    sock.settimeout(PATIENCE_SECONDS)


def shout(sock: socket.socket, count: int) -> None:
    """Calls of 1 MiB, whose answers nobody reads."""
    sock.settimeout(2.0)
    for number in range(1, count):
        if not message(sock, link_pb2.LinkRequest(frames=[call_frame(number, value="x" * MIB)])):
            return
