"""Whose turn it is, and when."""

from __future__ import annotations

import asyncio
from collections import deque


class DueQueue:
    """Names with the time at which each is due, for several who take them. Bounded by the number of names."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, name: str, after: float = 0.0) -> None:
        """Look at `name` in so many seconds at the latest."""
        due = self._loop.time() + after
        if due < self._due.get(name, float("inf")):
            self._due[name] = due
            self._call()

    async def take(self) -> str:
        """The name that has been due longest and isn't being looked at; `done` must follow."""
        while (first := self._first()) is None or first[0] > self._loop.time():
            taker = self._loop.create_future()
            self._takers.append(taker)
            self._call()
            await taker
        _, name = first
        del self._due[name]
        self._busy.add(name)
        self._call()
        return name

    def done(self, name: str) -> None:
        """The look at `name` is over, and another one may follow."""
        self._busy.discard(name)
        if name in self._due:
            self._call()

    @property
    def waiting(self) -> int:
        """How many are due now, and nobody looks at."""
        now = self._loop.time()
        return sum(1 for name, due in self._due.items() if due <= now and name not in self._busy)

    def _first(self) -> tuple[float, str] | None:
        return min(((due, name) for name, due in self._due.items() if name not in self._busy), default=None)

    def _call(self) -> None:
        """One who waits, as soon as a name is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._takers or (first := self._first()) is None:
            return
        if first[0] > self._loop.time():
            self._timer = self._loop.call_at(first[0], self._call)
        elif not (taker := self._takers.popleft()).done():
            taker.set_result(None)
