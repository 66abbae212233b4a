"""Streams that are taken back as soon as they are opened, the rapid reset: nothing is left of one, whoever opened it."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from hostile.wire import END_HEADERS, HEADERS, PING, RST, dial, frame, headers, opening, send
from support.attack import Plane, plane
from support.control_plane import PATIENCE_SECONDS, Caller

CONNECTIONS, STREAMS = 20, 1000
MOST_KEPT = 1.0
"""MiB, of 20,000 streams: 96 bytes of each would be twice as much."""

PONG = frame(PING, 1, 0, b"all read")


CROWD, MANY = 50, 2000
"""Connections that open and reset as many streams as one may have open, faster than anybody looks at them."""

MOST_MIB = 800
"""Of the 1,024 that the chart lets a replica have."""


def reset(port: int, path: str, streams: int = STREAMS) -> None:
    """Many streams of one connection, all of which the server has read."""
    pairs = [frame(HEADERS, END_HEADERS, id_, headers(path)) + frame(RST, 0, id_, bytes(4)) for id_ in range(1, 2 * streams, 2)]
    with dial(port, opening()) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        assert send(sock, b"".join(pairs) + frame(PING, 0, 0, b"all read"))
        heard = b""
        while PONG not in heard:
            heard = heard[-len(PONG) :] + (more := sock.recv(1 << 16))
            assert more, "it has hung up"


@pytest.mark.parametrize("path", ["/snakepit.v1.RouterService/Execute", "/made.up/Name"])
async def test_streams_that_are_reset_leave_nothing(server: Plane, good: Caller, path: str) -> None:
    port = int(server.address.rpartition(":")[2])
    await asyncio.to_thread(reset, port, path)
    await good.call("echo", {"n": 1})
    before = server.held
    for _ in range(CONNECTIONS):
        await asyncio.to_thread(reset, port, path)
    await good.call("echo", {"n": 2})  # It came after all of them, and so was looked at after them.
    until = time.monotonic() + PATIENCE_SECONDS
    while (kept := server.held - before) > MOST_KEPT:
        assert time.monotonic() < until, f"{kept:.1f} MiB are left of {CONNECTIONS * STREAMS} streams"
        await asyncio.sleep(0.1)


def peak_mib(pid: int) -> float:
    """Of what the process has had in memory at a time."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def test_a_flood_of_resets_takes_less_memory_than_a_replica_may_have() -> None:
    with plane() as alone:
        port = int(alone.address.rpartition(":")[2])
        await asyncio.gather(*[asyncio.to_thread(reset, port, "/snakepit.v1.RouterService/Execute", MANY) for _ in range(CROWD)])
        assert peak_mib(alone.pid) < MOST_MIB
