"""Deadlines of many calls at the price of one timer of the loop: a wheel of buckets, each in the order of setting.

Adding and discarding are O(1) and leave nothing behind: most calls end long before their deadline, and thousands a second do.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar

from snakepit_control_plane.model.call import Call

TICK_SECONDS = 0.01
"""Nothing is due early; it is noticed at most this late."""

MOST_AT_ONCE = 32
"""So many calls end at their deadlines in one turn of the loop, then it is others' turn: a thousand that end together take 50 ms."""

T = TypeVar("T")


class Wheel(Generic[T]):
    """At most one time for each item."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._order: list[int] = []
        self._slot: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._slot)

    def __contains__(self, item: T) -> bool:
        return item in self._slot

    def __iter__(self) -> Iterator[T]:
        return iter(self._slot)

    def set(self, item: T, at: float) -> None:
        """Let `item` be due at `at`, and no more at any time that was set before. Infinity: never."""
        if item in self._slot:
            self.discard(item)
        if at == math.inf:
            return
        slot = math.ceil(at / TICK_SECONDS)
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = {}
            heapq.heappush(self._order, slot)
        bucket[item] = None
        self._slot[item] = slot

    def discard(self, item: T) -> None:
        slot = self._slot.pop(item, None)
        if slot is not None:
            del self._buckets[slot][item]

    def due(self, now: float, most: int) -> list[T]:
        """Take out what has its time behind it, so many at most: the earliest of them."""
        items: list[T] = []
        while self._order and self._order[0] * TICK_SECONDS <= now and len(items) < most:
            bucket = self._buckets[self._order[0]]
            for item in list(islice(bucket, most - len(items))):
                self.discard(item)
                items.append(item)
            if not bucket:
                del self._buckets[heapq.heappop(self._order)]
        return items

    def next_due(self) -> float | None:
        """When to look again; None when nothing is set."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return self._order[0] * TICK_SECONDS if self._order else None


class Deadlines:
    """`due` is called for each call whose time has come, with the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[Call, float], None]) -> None:
        self._loop = loop
        self._due = due
        self.wheel: Wheel[Call] = Wheel()
        self.discard = self.wheel.discard
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = 0.0

    def set(self, call: Call, at: float) -> None:
        """One time for each call: it replaces the one before."""
        self.wheel.set(call, at)
        if self._timer is None or at < self._armed_at:
            self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self.stop()
        at = self.wheel.next_due()
        self._timer = None if at is None else self._loop.call_at(at, self._tick)
        self._armed_at = at or 0.0

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = None
        for call in self.wheel.due(now + 1e-6, MOST_AT_ONCE):
            if call not in self.wheel:  # Else what became of an earlier one has given it another time: a turn, say, and a worker.
                self._due(call, now)
        self._arm()
