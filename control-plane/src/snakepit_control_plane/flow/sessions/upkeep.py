"""Keeps what this replica knows of sessions true: slides their TTLs and verifies their records in batches, forgets them, ends them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING

from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Ended, SessionEntry, SessionRecord

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
        used: dict[str, list[SessionEntry]] = {}
        for entry in self._entries.values():
            if entry.dirty and entry.record is not None:
                used.setdefault(entry.pool, []).append(entry)
        for pool, entries in used.items():
            records = await self._store.touch_sessions(pool, [entry.id for entry in entries])
            for entry, record in zip(entries, records, strict=True):
                entry.dirty = bool(entry.active)
                if record is None:
                    self.forget(pool, entry.id)
                else:
                    self.learned(record)

    async def _end_expired(self) -> None:
        for pool in list(self._pools.values()):
            for ended in await self._store.take_ended(pool.name, MOST_ENDED):
                self.forget(pool.name, ended.id)
                self.end(pool, ended)

    def _forget_idle(self, now: float) -> None:
        for key in [key for key, entry in self._entries.items() if entry.is_idle(now)]:
            del self._entries[key]
