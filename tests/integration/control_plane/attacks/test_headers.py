"""Headers by the ten thousand, of somebody who never acknowledges what gRPC takes."""

from __future__ import annotations

import asyncio
import socket

from hostile.wire import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, dial, frame, headers, opening, send
from snakepit._wire.headers import HEADER_BYTES, MOST_BYTES
from support.attack import Plane
from support.control_plane import Caller

EXECUTE = "/snakepit.v1.RouterService/Execute"
COUNT = 100_000
TIMES, BY_CHANCE = 8, b"grpc-status\x018"
"""gRPC refuses one of five by itself, RESOURCE_EXHAUSTED."""
PART_BYTES = 16_000
NAMED, THE_SAME = b"\x40\x01a\x01b", b"\xbe"
"""A header that is remembered, and a byte that repeats it."""


def asking(block: bytes) -> bytes:
    """An RPC with these headers."""
    parts = [block[at : at + PART_BYTES] for at in range(0, len(block), PART_BYTES)]
    kinds = [HEADERS, *[CONTINUATION] * (len(parts) - 1)]
    flags = [*[0] * (len(parts) - 1), END_HEADERS]
    frames = [frame(kind, flag, 1, part) for kind, flag, part in zip(kinds, flags, parts, strict=True)]
    return b"".join(frames) + frame(DATA, END_STREAM, 1, bytes(5))


def answered(server: Plane, sent: bytes, *words: bytes) -> bytes:
    """What comes, up to one of these."""
    with dial(int(server.address.rpartition(":")[2]), opening()) as sock:
        sock.settimeout(30.0)
        assert send(sock, sent)
        return until(sock, *words)


def until(sock: socket.socket, *words: bytes) -> bytes:
    came = b""
    while not any(word in came for word in words):
        if not (more := sock.recv(1 << 16)):
            break
        came += more
    return came


async def test_headers_by_the_ten_thousand_are_refused_before_each_is_an_object(server: Plane, good: Caller) -> None:
    words = f"the headers are more than {MOST_BYTES // 1024} KiB, or {MOST_BYTES // HEADER_BYTES}".encode()
    block = headers(EXECUTE) + NAMED + THE_SAME * (COUNT - 1)
    came = [await asyncio.to_thread(answered, server, asking(block), words, BY_CHANCE) for _ in range(TIMES)]
    assert all(words in each or BY_CHANCE in each for each in came)
    assert any(words in each for each in came)
