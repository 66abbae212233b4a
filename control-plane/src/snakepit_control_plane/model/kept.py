"""How many bytes of results under idempotency keys each caller has had kept, by this replica, and until when. Pure."""

from __future__ import annotations

import heapq
import math

from snakepit.errors import CallerLimit

BESIDE_BYTES = 256
"""Of a key, and of what a store has beside it."""

PARTS = 32
"""What is kept is forgotten in so many parts of the time for which it is: a row for each result would be a row for each call."""

RETRY_SECONDS = 5.0

Slot = tuple[float, float]
"""When it ends, and how long it was."""


class Kept:
    """`most`: the limit maxKeptBytesPerCaller."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._callers: dict[str, int] = {}
        self._slots: dict[Slot, dict[str, int]] = {}
        self._order: list[Slot] = []

    def __len__(self) -> int:
        return len(self._callers)

    def full(self, caller: str, now: float) -> CallerLimit | None:
        """The refusal of one more key."""
        self._forget(now)
        if (held := self._callers.get(caller, 0)) < self.most:
            return None
        message = (
            f"{caller} has results of {held} bytes kept under idempotency keys here, and maxKeptBytesPerCaller allows {self.most}: "
            "leave the key out where a call may run twice, or have the pool keep them for less long (call.idempotencyTtlSeconds)"
        )
        return CallerLimit(message, retry_after=RETRY_SECONDS, details={"limit": "maxKeptBytesPerCaller", "bytes": str(self.most)})

    def add(self, caller: str, size: int, seconds: float, now: float) -> None:
        """A result that is kept from now on, for so long."""
        if seconds <= 0:
            return
        length = seconds / PARTS
        slot = (math.ceil((now + seconds) / length) * length, length)
        there = self._slots.get(slot)
        if there is None:
            there = self._slots[slot] = {}
            heapq.heappush(self._order, slot)
        size += BESIDE_BYTES
        there[caller] = there.get(caller, 0) + size
        self._callers[caller] = self._callers.get(caller, 0) + size

    def _forget(self, now: float) -> None:
        while self._order and self._order[0][0] <= now:
            for caller, size in self._slots.pop(heapq.heappop(self._order)).items():
                left = self._callers.pop(caller) - size
                if left:
                    self._callers[caller] = left
