"""A pool's last hour at this replica, in minutes: how many calls ended, how long they took and waited, and how they failed. Pure."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence

MINUTES = 60
MINUTE = 60.0

PER_DECADE = 8
BOUNDS = tuple(math.pow(10.0, n / PER_DECADE) for n in range(-4 * PER_DECADE, 3 * PER_DECADE + 1))
"""Of the histograms, in seconds: 0.1 ms to 1000 s, each a third larger than the one before."""

MOST_REASONS = 32
"""In one minute; what else there is counts as OTHER."""

OTHER = "OTHER"

SLOW_SECONDS = 1.0
"""What took longer is slow, as long as there is nothing to compare with."""

SLOW_SHARE = 0.99
"""Slow is what took longer than this share of the minute before."""

LEAST_COMPARED = 100
"""Calls of a minute that say something."""


Ended = tuple[float, float, float, str]
"""A call: when, after how many seconds, how many of them it has waited, and its reason."""


class Minute:
    """One minute, from `begin` on, of the loop's clock. `queue_seconds` are of those that waited."""

    __slots__ = ("begin", "errors", "queue_seconds", "seconds")

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.seconds: list[int] | array[int] = [0] * (len(BOUNDS) + 1)
        self.queue_seconds: list[int] | array[int] = [0] * (len(BOUNDS) + 1)
        self.errors: dict[str, int] = {}

    @property
    def calls(self) -> int:
        return sum(self.seconds)

    def failed(self, reason: str) -> None:
        """One of its calls has."""
        if reason not in self.errors and len(self.errors) >= MOST_REASONS:
            reason = OTHER
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def close(self) -> None:
        """Nothing is counted any more: it takes a quarter of the memory."""
        self.seconds, self.queue_seconds = array("I", self.seconds), array("I", self.queue_seconds)


class History:
    """`wall`: what to add to the loop's clock to have seconds since the epoch, by which minutes begin everywhere at once.
    `end`: of the minute that calls count in now."""

    __slots__ = ("_now", "_wall", "end", "minutes", "slow_seconds")

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self.minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._now = Minute(-math.inf)
        self.end = -math.inf
        self.slow_seconds = SLOW_SECONDS

    def count(self, ended: Iterable[Ended]) -> None:
        """In their order. Many at once: one by one, each would wait for code that others have pushed out of the processor's cache."""
        minute, end = self._now, self.end
        for now, seconds, waited, reason in ended:
            if now >= end:
                minute, end = self._next(now), self.end
            minute.seconds[bisect_left(BOUNDS, seconds)] += 1
            if waited:
                minute.queue_seconds[bisect_left(BOUNDS, waited)] += 1
            if reason != "OK":
                minute.failed(reason)

    def last(self, now: float) -> list[Minute]:
        """Those of the last hour, the oldest first."""
        return [each for each in self.minutes if each.begin > now - MINUTES * MINUTE]

    def _next(self, now: float) -> Minute:
        over = self._now
        if over.calls >= LEAST_COMPARED:
            self.slow_seconds = quantile(over.seconds, SLOW_SHARE)
        over.close()
        wall = now + self._wall()
        begin = now - wall % MINUTE
        self._now = minute = Minute(begin)
        self.end = begin + MINUTE
        self.minutes.append(minute)
        return minute


def quantile(counts: Sequence[int], share: float) -> float:
    """The bound up to which that share of what was counted is."""
    wanted, seen = share * sum(counts), 0
    for count, bound in zip(counts, BOUNDS, strict=False):
        seen += count
        if seen >= wanted:
            return bound
    return math.inf
