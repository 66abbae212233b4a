"""How full the pools' sessions are: counted in the store, and announced at 80 % and 100 % of session.maxSessions, once for each crossing.

`model.quotas` decides what is a crossing. Nothing is refused here: the store holds the quota.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import MARKS
from snakepit_control_plane.store.interface import Store

COUNT_SECONDS = 2.0
log = logging.getLogger(__name__)


class SessionCount:
    """`told` is called when a pool's mark is another."""

    def __init__(self, pools: Pools, store: Store, told: Callable[[], None]) -> None:
        self._pools = pools
        self._store = store
        self._told = told

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            for pool in list(self._pools.values()):
                await self.count(pool)
            await asyncio.sleep(COUNT_SECONDS)

    async def count(self, pool: Pool) -> None:
        """While the store is away the last count stands."""
        try:
            pool.sessions = await self._store.count_sessions(pool.name)
        except StoreUnavailable:
            return
        self._look(pool, pool.sessions)

    def refused(self, pool: Pool) -> None:
        """A session was refused because of the quota: whatever the last count was, the pool is full."""
        pool.sessions = max(pool.sessions, pool.spec.session.max_sessions)
        self._look(pool, pool.sessions)

    def _look(self, pool: Pool, count: int) -> None:
        most = pool.spec.session.max_sessions
        before = pool.mark.standing
        if not pool.mark.update(count, most):
            return
        self._told()
        if pool.mark.standing > before:
            then = "new ones are refused" if pool.mark.standing == MARKS[-1] else f"at {most} new ones are refused"
            log.warning("pool %s has %d of its %d sessions (session.maxSessions): %s", pool.name, count, most, then)
        else:
            log.info("pool %s has %d of its %d sessions again", pool.name, count, most)
