"""Results that wait in a worker to leave together, in memory that its agent holds too: what ends the worker does not lose them.

The memory begins with the number of bytes in use and of results; what follows are the results as they go into a message. The worker
alone writes there, and the agent reads it when the worker's process has ended, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct

from snakepit._ipc.sockets import FramingError, batch_of, encode, hand_over, open_memfd, worker_frames
from snakepit._ipc.worker import HELD, Done, FromWorker

BYTES = 32 * 1024
MOST_RESULTS = 32

_HEADER = struct.Struct("<II")


class HeldResults:
    """The worker's side; hands the memory over to the agent at the `inbox`. Raises OSError."""

    def __init__(self, inbox: socket.socket) -> None:
        descriptor = open_memfd("snakepit-held")
        try:
            os.truncate(descriptor, BYTES)
            self._memory = mmap.mmap(descriptor, BYTES)
            hand_over(inbox, HELD, descriptor)
        finally:
            os.close(descriptor)
        self._end = _HEADER.size
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, result: Done) -> bool:
        """Let the result wait; False where it has no room."""
        encoded = encode(result)
        end = self._end + len(encoded)
        if end > BYTES or self._count >= MOST_RESULTS:
            return False
        self._memory[self._end : end] = encoded
        self._use(end, self._count + 1)
        return True

    def message(self, *frames: FromWorker) -> bytes:
        """One message of everything that waits, and `frames` behind it; `clear` follows when it has been written."""
        return batch_of(self._count + len(frames), b"".join((self._memory[_HEADER.size : self._end], *map(encode, frames))))

    def clear(self) -> None:
        """Nothing waits any more."""
        self._use(_HEADER.size, 0)

    def _use(self, end: int, count: int) -> None:
        _HEADER.pack_into(self._memory, 0, end, count)
        self._end, self._count = end, count


def left_behind(descriptor: int) -> list[Done]:
    """In the agent: what a worker that has ended still held. Some of it may have come before. Nothing, where its code has broken it."""
    try:
        data = os.pread(descriptor, BYTES, 0)
        end, count = _HEADER.unpack_from(data)
        return [frame for frame in worker_frames().feed(batch_of(count, data[_HEADER.size : end])) if isinstance(frame, Done)]
    except (OSError, OverflowError, FramingError, struct.error):
        return []
