"""The keys that this replica has to do with now, and what it owes the store for them.

That is the lease of its runs, outcomes that the store has not taken yet, and claims that may stand in it.

Bounded: while too much of that waits, no new keys are taken.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.model.call import Call, Stage
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.keys import orphaned
from snakepit_control_plane.store.claims import Claims, Found, Run


class Entry(Stage):
    """`run`: it runs here, on behalf of `first`; `outcome`: known, and not in the store yet; `is_over`: nobody may join any more.

    It is what each caller's call passes: `left` hears of those that have ended.
    """

    __slots__ = ("alone", "callers", "claim", "deserted", "first", "is_over", "left", "outcome", "pool", "run")

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
        # Nobody waits here any more for the run of another replica.
        self.deserted = asyncio.Event()
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


LEASE_SECONDS = 5.0
"""A replica that has not renewed its lease for so long is taken to be gone."""

RENEW_SECONDS = 1.0

MOST_UNSTORED_BYTES = 64 * 1024 * 1024
MOST_DOUBTFUL = 10_000
"""What waits here for the store to come back; beyond either no new keys are taken."""

log = logging.getLogger(__name__)


class Upkeep:
    """`entries`: all keys of this replica; one that has ended, and is still among them, has an outcome that is not stored."""

    def __init__(self, claims: Claims, replica: str, clock: Callable[[], float], *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self._claims = claims
        self._replica = replica
        self._clock = clock
        self._lease_seconds = lease_seconds
        self.doubtful: dict[tuple[str, str], Run] = {}
        self.unstored_bytes = 0

    @property
    def overdue(self) -> bool:
        """Does too much wait for the store?"""
        return self.unstored_bytes > MOST_UNSTORED_BYTES or len(self.doubtful) > MOST_DOUBTFUL

    # ---- what calls need

    async def claim(self, entry: Entry) -> Found:
        """Look what is under the key; take it if it is free. Raises StoreUnavailable, and then the claim may stand."""
        keep = entry.keep_seconds(self._clock())
        try:
            return await self._claims.claim(entry.claim, lease_seconds=self._lease_seconds, keep_seconds=keep, lost=orphaned())
        except StoreUnavailable:
            self._doubt(entry.claim)
            raise

    async def release(self, claim: Run) -> None:
        """Free the key: now, or when the store is back."""
        try:
            await self._claims.release(claim)
        except StoreUnavailable:
            self._doubt(claim)

    async def finish(self, entry: Entry) -> bool:
        """Store the outcome. False: the store is away; the outcome is kept here until it is back."""
        try:
            await self._finish(entry)
        except StoreUnavailable as error:
            if not self.unstored_bytes:
                log.warning("outcomes of calls with idempotency keys are not stored yet: %s", error)
            self.unstored_bytes += len(entry.outcome)
            return False
        return True

    def forget(self, entry: Entry) -> None:
        key = (entry.claim.pool, entry.claim.key)
        if self.entries.get(key) is entry:
            del self.entries[key]

    async def _finish(self, entry: Entry) -> None:
        if not await self._claims.finish(entry.claim, entry.outcome, entry.pool.spec.call.idempotency_ttl_seconds):
            log.warning("an idempotency key of pool %s was claimed again while its call ran: the store had lost it", entry.claim.pool)

    def _doubt(self, claim: Run) -> None:
        """It may stand in the store, and must not keep others waiting."""
        self.doubtful[claim.pool, claim.key] = claim

    # ---- time

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self._renew()
                await self._settle()
            except StoreUnavailable as error:
                log.debug("idempotency keys were not renewed: %s", error)

    async def _renew(self) -> None:
        for pool in {entry.claim.pool for entry in self.entries.values() if entry.run is not None or entry.is_over}:
            if not await self._claims.hold(pool, self._replica, self._lease_seconds):
                await self._claim_again(pool)

    async def _claim_again(self, pool: str) -> None:
        """The store came back empty: with the claims written down again, repeats at other replicas join."""
        for entry in list(self.entries.values()):
            if entry.claim.pool == pool and entry.run is not None:
                await self.claim(entry)

    async def _settle(self) -> None:
        for key, claim in list(self.doubtful.items()):
            if key not in self.entries:
                await self._claims.release(claim)
            del self.doubtful[key]
        for entry in [each for each in self.entries.values() if each.is_over]:
            await self._finish(entry)
            self.unstored_bytes -= len(entry.outcome)
            self.forget(entry)
