"""What strangers write with: sockets, HTTP/2 by hand, and gRPC without any manners."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

SECONDS = 3.0
"""A peer that takes nothing for so long has stopped reading, which is its right."""

DATA, HEADERS, RST, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def dial(port: int, first: bytes = b"") -> socket.socket:
    """A connection on which something is said."""
    sock = socket.create_connection(("127.0.0.1", port), SECONDS)
    if first:
        send(sock, first)
    return sock


def send(sock: socket.socket, data: bytes) -> bool:
    """False: the other end has hung up, or takes no more."""
    try:
        sock.sendall(data)
    except OSError:
        return False
    return True


def drain(sock: socket.socket) -> bool:
    """Take what has come. False: the other end has hung up."""
    sock.setblocking(False)
    try:
        while sock.recv(1 << 20):
            continue
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        sock.settimeout(SECONDS)
    return False


def hung_up(sock: socket.socket, seconds: float = 20.0) -> bool:
    """Wait for it."""
    sock.settimeout(seconds)
    try:
        while sock.recv(1 << 16):
            continue
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@contextlib.contextmanager
def crowd(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections, as far as they are taken."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            with contextlib.suppress(OSError):
                made.append(stack.enter_context(dial(port, first)))
        yield made


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def opening() -> bytes:
    """What a client of HTTP/2 says first."""
    return PREFACE + frame(SETTINGS, 0, 0)


def headers(path: str, *more: tuple[str, str]) -> bytes:
    """A request's header block, without Huffman and tables."""
    usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
    pairs = [*usual, ("content-type", "application/grpc"), *more]
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in pairs)


def _text(text: str) -> bytes:
    data = text.encode()
    left = len(data)
    if left < 127:
        return bytes((left,)) + data
    head, left = bytearray((127,)), left - 127
    while left >= 128:
        head.append(left % 128 + 128)
        left //= 128
    head.append(left)
    return bytes(head) + data


def message(lane: socket.socket, sent: Any) -> bool:
    """A message on a lane."""
    data = sent if isinstance(sent, bytes) else sent.SerializeToString()
    return send(lane, len(data).to_bytes(4, "little") + data)
