"""How many bytes of large payloads a capsule holds at a time: those of arguments wait for room, those of results shut the door.

Arguments lie in memfds that count against the agent's memory; results that wait for slow callers in memfds that count against the
worker's. It has no clock and starts nothing: whoever asks waits for a future.
"""

from __future__ import annotations

import asyncio
from collections import deque


class MemoryBudget:
    """`limit` bytes of arguments at a time, and so many of results before new calls are refused."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.trailing = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def ask(self, size: int) -> asyncio.Future[None]:
        """Done when there is room, in the order of asking; cancel it to give up. `size` is at most the limit."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((size, future))
        future.add_done_callback(self._given_up)
        self._admit()
        return future

    def _given_up(self, future: asyncio.Future[None]) -> None:
        """Whoever waits behind it may have room."""
        if future.cancelled():
            self._admit()

    def leave(self, size: int) -> None:
        """What was asked for, and got, is free again."""
        self.used -= size
        self._admit()

    @property
    def is_shut(self) -> bool:
        """Too much waits for its callers: no new calls."""
        return self.trailing > self.limit

    def _admit(self) -> None:
        while self.waiting and (self.waiting[0][1].cancelled() or self.used + self.waiting[0][0] <= self.limit):
            size, future = self.waiting.popleft()
            if not future.cancelled():
                self.used += size
                future.set_result(None)
