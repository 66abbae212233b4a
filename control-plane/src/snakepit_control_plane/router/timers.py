"""Deadlines of many calls at the price of one timer: a wheel of buckets, each in the order of setting. Pure: it is told the time.

Adding and discarding are O(1) and leave nothing behind: most calls end long before their deadline, and thousands a second do.
"""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

TICK_SECONDS = 0.01
"""Nothing is due early; it is noticed at most this late."""

T = TypeVar("T")


class Wheel(Generic[T]):
    """At most one time for each item."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._order: list[int] = []
        self._slot: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._slot)

    def set(self, item: T, at: float) -> None:
        """Let `item` be due at `at`, and no more at any time that was set before. Infinity: never."""
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

    def due(self, now: float) -> list[T]:
        """Take out everything whose time has come."""
        items: list[T] = []
        while self._order and self._order[0] * TICK_SECONDS <= now:
            bucket = self._buckets.pop(heapq.heappop(self._order))
            items.extend(bucket)
            for item in bucket:
                del self._slot[item]
        return items

    def next_due(self) -> float | None:
        """When to look again; None when nothing is set."""
        while self._order and not self._buckets[self._order[0]]:
            del self._buckets[heapq.heappop(self._order)]
        return self._order[0] * TICK_SECONDS if self._order else None
