"""How much of a stream may be under way on a link: so many bytes, or one chunk. The consumer's word lets the producer go on."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

WINDOW_BYTES = 1024 * 1024


class Window:
    """The producer's account of one stream."""

    def __init__(self, limit: int = WINDOW_BYTES) -> None:
        self._limit = limit
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._open = asyncio.Event()
        self._open.set()

    @property
    def bytes(self) -> int:
        """Sent and not yet taken."""
        return self._bytes

    def sent(self, size: int) -> None:
        self._sizes.append(size)
        self._bytes += size
        if self._bytes >= self._limit:
            self._open.clear()

    def taken(self, chunks: int) -> None:
        """The consumer took the oldest chunks; a word too many is passed over."""
        for _ in range(min(chunks, len(self._sizes))):
            self._bytes -= self._sizes.popleft()
        if self._bytes < self._limit:
            self._open.set()

    def lift(self) -> None:
        """No more bound: the stream has ended."""
        self._limit = sys.maxsize
        self._open.set()

    async def room(self) -> None:
        """Wait until another chunk may be sent. Without a bound of its own: the call's deadline is the bound."""
        await self._open.wait()
