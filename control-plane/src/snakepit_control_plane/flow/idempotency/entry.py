"""A key that this replica has to do with now: who waits for its outcome, and where the run is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from snakepit_control_plane.model.call import Call, Stage
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.claims import Run


class Entry(Stage):
    """`run`: it runs here, on behalf of `first`; `outcome`: known, and not in the store yet; `is_over`: nobody may join any more.

    It is what each caller's call passes: `left` hears of those that have ended.
    """

    __slots__ = ("alone", "callers", "changed", "claim", "first", "is_over", "left", "outcome", "pool", "run")

    def __init__(self, pool: Pool, claim: Run, left: Callable[[Entry, Call], None]) -> None:
        self.pool = pool
        self.claim = claim
        self.left = left
        # In the order in which they came.
        self.callers: dict[Call, None] = {}
        self.first: Call | None = None
        self.run: Call | None = None
        self.outcome = b""
        self.is_over = False
        # Somebody told that the key has an outcome, or is free.
        self.changed = asyncio.Event()
        self.alone: asyncio.TimerHandle | None = None

    def ended(self, call: Call, now: float) -> None:
        """The caller has its answer, or has gone."""
        self.callers.pop(call, None)
        self.left(self, call)

    def keep_seconds(self, now: float) -> float:
        """How long the store is to remember the claim: from the end of the run on, and until then its deadline is to come."""
        left = max((call.deadline for call in self.callers), default=0.0) - now
        return self.pool.spec.call.idempotency_ttl_seconds + (max(0.0, left) if left < math.inf else 0.0)

    def stop_waiting_alone(self) -> None:
        """Somebody waits here (again), or nobody has to."""
        if self.alone is not None:
            self.alone.cancel()
            self.alone = None
