"""When a pool's status is written for its counts alone: soon, and where many pools have other ones than before, one after another. Pure."""

from __future__ import annotations

import math

POOL_SECONDS = 0.5
"""Between two such writes of one pool: readers are less than a second behind, the way from the replicas included."""
WRITES_PER_SECOND = 20.0
"""Of all pools together: 8 % of a core, as long as counts go on changing."""
MOST_SECONDS = 5.0
"""Where more pools want to be written than that, each of them waits for so long at most."""


class Pace:
    """Whose counts are due, and when. Times are of one clock, in seconds. Bounded by the pools that have asked lately."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._next = -math.inf
        """Nobody's turn comes sooner."""

    def after(self, pool: str, now: float) -> float:
        """Seconds until the pool's turn; a pool that has one already keeps it."""
        last = self._due.get(pool, -math.inf)
        if last <= now:
            self._next = min(max(self._next, now), now + MOST_SECONDS)
            self._due.pop(pool, None)  # Whose turn came last is last.
            last = self._due[pool] = max(last + POOL_SECONDS, self._next)
            self._next += 1 / WRITES_PER_SECOND
            self._forget(now - POOL_SECONDS)
        return last - now

    def _forget(self, before: float) -> None:
        """Turns so long ago keep nobody waiting."""
        while self._due[pool := next(iter(self._due))] < before:
            del self._due[pool]
