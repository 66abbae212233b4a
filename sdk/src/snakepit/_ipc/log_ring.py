"""A capsule's last log lines, in sealed memory that its collector writes and its agent reads: neither waits for the other.

A ring of bytes behind a head of two numbers: how many bytes a writer has begun to write since the ring was made, and how many of them are
there. The author's code may have got hold of it, so a reader takes nothing for granted.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Sequence

from snakepit._ipc.sockets import FramingError, check_memfd, open_memfd, seal

ROOM_BYTES = 256 * 1024
MOST_ROOM_BYTES = 4 << 20
"""A ring of a later version may have another size."""

_HEAD = struct.Struct("<QQ")


def make_ring() -> int:
    """A descriptor of an empty one. The caller closes it."""
    descriptor = open_memfd("snakepit-log")
    os.truncate(descriptor, _HEAD.size + ROOM_BYTES)
    seal(descriptor)
    return descriptor


class LogRing:
    """The writer's view: there is one at a time."""

    def __init__(self, descriptor: int) -> None:
        self._memory = mmap.mmap(descriptor, _HEAD.size + ROOM_BYTES)
        self._written = _HEAD.unpack_from(self._memory)[1]

    def add(self, lines: Sequence[bytes]) -> None:
        """Whole lines, each with its newline. What was there longest goes."""
        data = b"".join(lines)
        begin, self._written = self._written, self._written + len(data)
        _HEAD.pack_into(self._memory, 0, self._written, begin)
        kept = data[-ROOM_BYTES:]
        at = (self._written - len(kept)) % ROOM_BYTES
        first = kept[: ROOM_BYTES - at]
        self._memory[_HEAD.size + at : _HEAD.size + at + len(first)] = first
        self._memory[_HEAD.size : _HEAD.size + len(kept) - len(first)] = kept[len(first) :]
        _HEAD.pack_into(self._memory, 0, self._written, self._written)


def check_ring(descriptor: int) -> None:
    """Raises FramingError for what is no ring: other files may be slow to read, or shrink."""
    check_memfd(descriptor, _HEAD.size)
    if not 0 < _room(descriptor) <= MOST_ROOM_BYTES:
        raise FramingError(f"a log ring of {_room(descriptor)} bytes: it may have {MOST_ROOM_BYTES}")


def read_ring(descriptor: int) -> list[bytes]:
    """The lines of a ring that was checked, the oldest first; of one that is being written, those that stay."""
    room = _room(descriptor)
    _, there = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
    ring = os.pread(descriptor, room, _HEAD.size)
    begun, _ = _HEAD.unpack(os.pread(descriptor, _HEAD.size, 0))
    since = max(0, begun - room)
    if not 0 < there - since <= room:
        return []
    at = since % room
    data = (ring[at:] + ring[:at])[: there - since]
    lines = data.split(b"\n")
    return lines[1 if since else 0 : -1]


def _room(descriptor: int) -> int:
    return os.fstat(descriptor).st_size - _HEAD.size
