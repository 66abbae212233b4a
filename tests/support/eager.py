"""A connection of which a test says what comes on it, and when."""

from __future__ import annotations

import asyncio

UVLOOP_READS = 256_000
"""Bytes, at most."""


class Eager(asyncio.Transport):
    """As uvloop's: it reads on in the same turn of the loop until it is told to pause. `read`: bytes in each turn in which it did.

    `reads`: it is not paused.
    """

    def __init__(self, user: asyncio.Protocol, data: bytes = b"") -> None:
        super().__init__()
        self.read: list[int] = []
        self._user, self._data = user, data
        self.reads = True
        user.connection_made(self)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It writes nothing."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True
        asyncio.get_running_loop().call_soon(self.pour)

    def pour(self) -> None:
        self.read.append(0)
        while self.reads and self._data:
            part, self._data = self._data[:UVLOOP_READS], self._data[UVLOOP_READS:]
            self.read[-1] += len(part)
            self._user.data_received(part)
