"""Keeps what this replica knows of sessions true: slides their TTLs and verifies their records in batches, forgets them, ends them.

How full the pools' sessions are is counted in the store, and announced at 80 % and 100 % of session.maxSessions, once for each crossing:
`model.quotas` decides what is one. Nothing is refused here: the store holds the quota.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from snakepit._names import parse_pool
from snakepit.errors import SessionNotFound, SnakepitError, StoreUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import MARKS
from snakepit_control_plane.model.session import Ended, SessionEntry, SessionRecord
from snakepit_control_plane.store.interface import Store

if TYPE_CHECKING:
    from snakepit_control_plane.flow.sessions.turns import Sessions

TOUCH_SECONDS = 1.0
"""Used sessions are touched, and verified, this often; more often where one has a TTL of a few seconds."""

SHORTEST_PAUSE_SECONDS = 0.05

MOST_ENDED = 1000
"""Expired sessions whose workers are told in one go."""

log = logging.getLogger(__name__)


class Upkeep:
    """For all entries of one replica."""

    def __init__(self, sessions: Sessions, agents: AgentLinks) -> None:
        self._sessions = sessions
        self._agents = agents
        self._entries = sessions.entries
        self._pools = sessions.pools
        self._store = sessions.store
        self._short_lived = asyncio.Event()

    # ---- changes from outside

    def loaded(self, record: SessionRecord) -> None:
        """The record was read for a call. One with a short TTL can't wait for the end of a pause that began before it was known."""
        if record.ttl_seconds < 2 * TOUCH_SECONDS:
            self._short_lived.set()

    def learned(self, record: SessionRecord) -> None:
        """The record was read or changed by somebody at this replica."""
        entry = self._entries.get((record.pool, record.id))
        if entry is None or entry.busy or entry.record is None:
            return
        old, entry.record = entry.record, record
        pool = self._pools.get(record.pool)
        if pool is not None and pool.queue.pinned and old.binding != record.binding:
            self._sessions.moved(pool, entry, old, self._sessions.clock())

    def forget(self, pool: str, session: str) -> None:
        """What is cached may not be true any more: the next call asks the store."""
        entry = self._entries.get((pool, session))
        if entry is not None and not entry.busy:
            entry.record = None
            if not entry.active and not entry.waiting:
                del self._entries[pool, session]

    def end(self, pool: Pool, session: SessionRecord | Ended) -> None:
        """Tell the worker that the session is over for it."""
        worker = pool.find(session.worker, session.incarnation) if session.worker else None
        if worker is not None:
            frame = link_pb2.SessionEnd(session_id=session.id, session_uid=session.uid, worker=worker.id, incarnation=worker.incarnation)
            if isinstance(session, SessionRecord):
                frame.session_epoch = session.epoch
            self._agents.tell(worker.capsule, link_pb2.Frame(session_end=frame))

    def bound_to(self, capsule: str) -> int:
        """How many sessions known here are bound to workers of this capsule."""
        return sum(e.record is not None and e.record.worker.rpartition("/")[0] == capsule for e in self._entries.values())

    async def count_lost(self, entry: SessionEntry, record: SessionRecord, why: str) -> None:
        """A call was refused as the session's worker is gone. It is counted where the store hears of that first."""
        try:
            if await self._store.note_lost(record):
                self._sessions.telemetry.sessions_lost.add(record.pool, why)
        except StoreUnavailable:
            entry.lost = None  # The next call that is refused asks again.
        except SessionNotFound:
            log.debug("session %s of pool %s has gone before it was counted as lost", record.id, record.pool)

    # ---- time

    async def run(self) -> None:
        """Ends when cancelled."""
        while True:
            await self._pause()
            try:
                await self._touch()
                await self._end_expired()
            except SnakepitError as error:
                log.debug("sessions were not looked after: %s", error)
            self._forget_idle(self._sessions.clock())

    async def _pause(self) -> None:
        await asyncio.sleep(SHORTEST_PAUSE_SECONDS)
        shortest = min((entry.record.ttl_seconds for entry in self._entries.values() if entry.record is not None), default=math.inf)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(TOUCH_SECONDS, shortest / 3) - SHORTEST_PAUSE_SECONDS):
                await self._short_lived.wait()
        self._short_lived.clear()

    async def _touch(self) -> None:
        """Each by its uid: a session that somebody has made anew is not kept alive by calls of the one before."""
        used: dict[str, dict[SessionEntry, str]] = {}
        for entry in self._entries.values():
            if entry.dirty and entry.record is not None:
                used.setdefault(entry.pool, {})[entry] = entry.record.uid
        for pool, entries in used.items():
            records = await self._store.touch_sessions(pool, {entry.id: uid for entry, uid in entries.items()})
            for entry, record in zip(entries, records, strict=True):
                entry.dirty = bool(entry.active or entry.waiting)
                if record is None:
                    self.forget(pool, entry.id)
                else:
                    self.learned(record)
            await self._count_lost(pool, [entry for entry, record in zip(entries, records, strict=True) if record is None])

    async def _count_lost(self, pool: str, gone: list[SessionEntry]) -> None:
        """They were used here a moment ago. Who wasn't deleted by anybody, the store has lost."""
        deleted = await self._store.were_deleted(pool, [entry.id for entry in gone]) if gone else []
        if lost := deleted.count(False):
            log.warning("the store has lost %d sessions of pool %s that were in use", lost, pool, extra={"pool": pool})
            self._sessions.telemetry.sessions_lost.add(pool, "store", by=lost)

    async def _end_expired(self) -> None:
        for pool in list(self._pools.values()):
            for ended in await self._store.take_ended(pool.name, MOST_ENDED):
                self.forget(pool.name, ended.id)
                self.end(pool, ended)

    def _forget_idle(self, now: float) -> None:
        for key in [key for key, entry in self._entries.items() if entry.is_idle(now)]:
            del self._entries[key]


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

    def within(self, namespace: str) -> int:
        """Sessions of all pools of a namespace: as counted a moment ago, and those made here since."""
        return sum(pool.sessions for name, pool in self._pools.items() if parse_pool(name)[0] == namespace)

    def made(self, pool: Pool) -> None:
        """One more, until they are counted again."""
        pool.sessions += 1

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
        of = {"pool": pool.name}
        if pool.mark.standing > before:
            then = "new ones are refused" if pool.mark.standing == MARKS[-1] else f"at {most} new ones are refused"
            log.warning("pool %s has %d of its %d sessions (session.maxSessions): %s", pool.name, count, most, then, extra=of)
        else:
            log.info("pool %s has %d of its %d sessions again", pool.name, count, most, extra=of)
