"""Results that wait in a worker to leave together, in memory that its agent holds too: what ends the worker does not lose them.

In the memory lies one message of the outbox, as it will leave. The worker alone writes there, and the agent reads it when the
worker's process has ended, so no lock is needed.
"""

from __future__ import annotations

import mmap
import os
import socket

from snakepit._ipc.sockets import BATCH_HEAD, FramingError, encode, hand_over, one_batch, open_memfd, write_batch_head
from snakepit._ipc.worker import HELD, Done

BYTES = 32 * 1024
MOST_FRAMES = 32


class HeldResults:
    """The worker's side; hands the memory over to the agent at the `inbox`. `count`: frames that wait. Raises OSError."""

    def __init__(self, inbox: socket.socket) -> None:
        descriptor = open_memfd("snakepit-held")
        try:
            os.truncate(descriptor, BYTES)
            self._memory = mmap.mmap(descriptor, BYTES)
            hand_over(inbox, HELD, descriptor)
        finally:
            os.close(descriptor)
        self._end = BATCH_HEAD
        self.count = 0

    def add(self, result: Done) -> bool:
        """Let the result wait; False where it has no room."""
        encoded = encode(result)
        end = self._end + len(encoded)
        count = self.count + 1
        if end > BYTES or count > MOST_FRAMES:
            return False
        self._memory[self._end : end] = encoded
        write_batch_head(self._memory, end, count)
        self._end, self.count = end, count
        return True

    def message(self) -> bytes:
        """Everything that waits; `clear` follows when it has been written."""
        return self._memory[: self._end]

    def clear(self) -> None:
        """Nothing waits any more."""
        write_batch_head(self._memory, BATCH_HEAD, 0)
        self._end, self.count = BATCH_HEAD, 0


def left_behind(descriptor: int) -> list[Done]:
    """In the agent: what a worker that has ended still held. Some of it may have come before. Nothing, where its code has broken it."""
    try:
        return [frame for frame in one_batch(os.pread(descriptor, BYTES, 0)) if isinstance(frame, Done)]
    except (OSError, FramingError):
        return []
