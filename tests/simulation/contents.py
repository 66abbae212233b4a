"""What large arguments, large results and chunks hold, so that whoever gets them knows whether it is all of the right one."""

from __future__ import annotations

import hashlib

LARGEST = 1200
"""Bytes of what is large here: some pieces, and more than an agent may have room for."""

PIECE_BYTES = 64
MESSAGE_BYTES = 200
WINDOW_BYTES = 40
"""Some chunks of a nested stream."""


def content(of: str, size: int) -> bytes:
    """`size` bytes that nothing else has."""
    seed = hashlib.sha256(of.encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def said(token: str, index: int = 0, size: int = 0) -> bytes:
    """What a run says: its name, which of its chunks it is, and `size` bytes more."""
    name = f"{token}#{index}"
    return f"{name}|".encode() + content(name, size)


def parse(data: bytes) -> tuple[str, int] | None:
    """The run's name, and the chunk's number; None: that is not what a run has said."""
    if data.startswith(b'"'):  # A client's tool has said it, in JSON.
        data = data[1:-1]
    name, _, rest = data.partition(b"|")
    token, _, index = name.decode().partition("#")
    whole = rest == content(name.decode(), len(rest)) and index.isdecimal()
    return (token, int(index)) if whole else None
