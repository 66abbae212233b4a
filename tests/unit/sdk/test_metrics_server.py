"""All who scrape have one thread, which waits for none of them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from snakepit._telemetry.metrics_server import MetricsServer

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b"x" * (16 << 20)
"""More than the kernel keeps for one who doesn't read."""


def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = MetricsServer(application)
    yield server.start("127.0.0.1", 0)
    await server.stop()


def asked(port: int, request: bytes = REQUEST) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.sendall(request)
    return sock


def answer(sock: socket.socket) -> bytes:
    with sock, sock.makefile("rb") as read:
        return read.read()


async def test_who_reads_nothing_keeps_nobody_waiting_and_has_all_of_it_when_it_reads(port: int) -> None:
    def ask() -> None:
        slow = asked(port)
        slow.shutdown(socket.SHUT_WR)
        assert slow.recv(1) == b"H"
        assert answer(asked(port)).endswith(b"\r\n\r\n" + BODY)
        assert answer(slow).endswith(b"\r\n\r\n" + BODY)

    await asyncio.to_thread(ask)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n"])
async def test_a_head_ends_with_an_empty_line_however_lines_end(port: int, end: bytes) -> None:
    said = await asyncio.to_thread(lambda: answer(asked(port, b"GET / HTTP/1.1\nHost: x" + end)))
    assert said.startswith(b"HTTP/1.0 200 OK\r\n")
