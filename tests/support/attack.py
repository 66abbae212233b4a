"""The real program, a victim that must not notice, and an attacker who speaks the wire by hand, a few times for each deed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from snakepit._wire.status import from_rpc_error
from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2, link_pb2, link_pb2_grpc, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import PATIENCE_SECONDS, Caller
from support.simulated_agent import POOL, simulated_agent

TESTS = Path(__file__).parents[1]
MIB = 1024 * 1024
LONG = "x" * 2 * MIB
NO_MESSAGE = b"\xff" * 100
ANY_SIZE = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass
class Plane:
    """A control plane in a process of its own."""

    address: str
    process: subprocess.Popen[str]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def held(self) -> float:
        """MiB that its allocator has given out. What it keeps for later isn't among them, which is some 100 MiB on a busy machine."""
        return float(self.figures()["in_use"])

    @property
    def garbage(self) -> int:
        """So many objects a collection had to find, from its start on: what is let go otherwise isn't among them."""
        return int(self.figures()["garbage"])

    def figures(self) -> dict[str, Any]:
        """What support.measured says."""
        return asked(self.process)

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


def python_path() -> str:
    """Of programs that need what tests have."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def rss(pid: int | str) -> int:
    """In MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // MIB


def asked(process: subprocess.Popen[str], word: str = "") -> dict[str, Any]:
    """A line's answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()
    read: dict[str, Any] = json.loads(process.stdout.readline())
    return read


@contextlib.contextmanager
def plane(**environment: str) -> Iterator[Plane]:
    """Killed at the end."""
    settings = {"SNAKEPIT_LISTEN": "127.0.0.1:0", "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_LINGER_SECONDS": "0"}
    settings |= {"PYTHONPATH": python_path(), **environment}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        words, pipe = [sys.executable, "-m", "support.measured"], subprocess.PIPE
        env = {**os.environ, **settings}
        with log.open("wb") as errors, subprocess.Popen(words, env=env, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process:
            try:
                yield Plane(_address(process, log), process, log)
            finally:
                process.kill()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    while process.poll() is None:
        if found := re.search(r"serves on (\S+:\d+)", log.read_text()):
            return found[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise AssertionError(f"it did not start: {log.read_text()}")


@contextlib.asynccontextmanager
async def victim(plane: Plane) -> AsyncIterator[Caller]:
    """A pool of two workers, and a client that calls it all the time: each of its calls must succeed, and some must have been made."""
    async with simulated_agent(plane.address, workers=2) as agent, grpc.aio.insecure_channel(plane.address) as channel:
        caller = Caller(channel)
        answered = 0

        async def call_on() -> None:
            nonlocal answered
            while True:
                await caller.call("echo", {"n": answered})
                answered += 1

        calling = asyncio.create_task(call_on())
        try:
            yield caller
            seen = answered
            async with asyncio.timeout(PATIENCE_SECONDS):
                while answered < seen + 3 and not calling.done():
                    await asyncio.sleep(0.005)
            assert not calling.done(), calling.exception()
            assert agent.replica is not None, "the capsule lost its link"
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            agent.let_go()


@contextlib.asynccontextmanager
async def attacker(plane: Plane | Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(plane.address, options=[*ANY_SIZE, ("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def refused(call: Any) -> SnakepitError:
    """What an RPC fails with."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            answer = await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError(f"it was taken: {str(answer)[:200]}")


class ByHand:
    """A client's link, frame by frame."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stream = link_pb2_grpc.LinkServiceStub(channel).Link()
        self.welcome = link_pb2.Welcome()

    async def open(self, *, lane: bool = False) -> ByHand:
        hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT)
        await self.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        first: Any = await self.stream.read()
        self.welcome = first.frames[0].welcome
        if not lane:
            await self.stream.write(link_pb2.LinkRequest())
        return self

    def lane(self, ticket: bytes = b"") -> socket.socket:
        """A connection that has shown the ticket of the lane, or another one."""
        sock = socket.create_connection(("127.0.0.1", self.welcome.lane.port), PATIENCE_SECONDS)
        sock.sendall(ticket or self.welcome.lane.ticket)
        assert len(sock.recv(16, socket.MSG_WAITALL)) == 16
        return sock

    async def answer(self, frame: link_pb2.Frame) -> link_pb2.Frame:
        """The first frame that comes after this one was sent."""
        await self.stream.write(link_pb2.LinkRequest(frames=[frame]))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (message := await self.stream.read()).frames:  # type: ignore[union-attr]
                continue
        return message.frames[0]  # type: ignore[union-attr, no-any-return]


def hung_up(sock: socket.socket) -> bool:
    """Wait for it."""
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def called(tool: str = "echo", **fields: Any) -> link_pb2.Call:
    return link_pb2.Call(**{"id": 1, "call_id": "c", "pool": POOL, "tool": tool, "arguments": common_pb2.Payload(data=b"{}"), **fields})


def executing(**fields: Any) -> router_pb2.ExecuteRequest:
    return router_pb2.ExecuteRequest(**{"pool": POOL, "tool": "echo", **fields})


def attachments(count: int) -> common_pb2.Payload:
    return common_pb2.Payload.FromString(b"\x1a\x00" * count)
