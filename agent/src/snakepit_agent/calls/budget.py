"""How many bytes of large payloads a capsule holds at a time: those of arguments wait for room, those of results shut the door.

Arguments lie in memfds that count against the agent's memory; results that wait for slow callers in memfds that count against the
worker's.
"""

from __future__ import annotations

import asyncio


class MemoryBudget:
    """`limit` bytes of arguments at a time, and so many of results before new calls are refused."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.trailing = 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def enter(self, size: int) -> None:
        """Wait for room, in the order of asking, and take it; `leave` follows. `size` is at most the limit."""
        async with self._turn:
            while self.used + size > self.limit:
                self._freed.clear()
                await self._freed.wait()
            self.used += size

    def leave(self, size: int) -> None:
        """What was taken is free again."""
        self.used -= size
        self._freed.set()

    @property
    def is_shut(self) -> bool:
        """Too much waits for its callers: no new calls."""
        return self.trailing > self.limit
