"""A key that this replica has to do with now: who waits for its outcome, and where the run is."""

from __future__ import annotations

import asyncio
import math

from snakepit_control_plane.model.call import Call, Reply
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.claims import Run


class Entry:
    """`run`: it runs here, on behalf of `first`; `outcome`: known, and not in the store yet; `ended`: nobody may join any more."""

    __slots__ = ("alone", "callers", "claim", "ended", "first", "news", "outcome", "pool", "run")

    def __init__(self, pool: Pool, claim: Run) -> None:
        self.pool = pool
        self.claim = claim
        # In the order in which they came, with what answers them.
        self.callers: dict[Call, Reply] = {}
        self.first: Call | None = None
        self.run: Call | None = None
        self.outcome = b""
        self.ended = False
        # Somebody told that the key has an outcome, or is free.
        self.news = asyncio.Event()
        self.alone: asyncio.TimerHandle | None = None

    def keep_seconds(self, now: float) -> float:
        """How long the store is to remember the claim: from the end of the run on, and until then its deadline is to come."""
        left = max((call.deadline for call in self.callers), default=0.0) - now
        return self.pool.spec.call.idempotency_ttl_seconds + (max(0.0, left) if left < math.inf else 0.0)

    def company(self) -> None:
        """Somebody waits here (again), or nobody has to."""
        if self.alone is not None:
            self.alone.cancel()
            self.alone = None
