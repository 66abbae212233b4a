"""Whose turn it is: the calls of each session at this replica, in the order in which they came.

A session that this replica knows and whose worker lives costs no store operation on the path of a call. Which worker a call goes to
is decided in `binding`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from snakepit.errors import SnakepitError, WorkerBusy
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.workers import Worker
from snakepit_control_plane.sessions.binding import Binding
from snakepit_control_plane.sessions.entry import SessionEntry
from snakepit_control_plane.sessions.upkeep import Upkeep
from snakepit_control_plane.store.interface import Store

if TYPE_CHECKING:
    from snakepit_control_plane.router.pools import Router


class Sessions:
    """All sessions that this replica has to do with."""

    def __init__(self, router: Router, store: Store) -> None:
        self.store = store
        self.router = router
        self.entries: dict[tuple[str, str], SessionEntry] = {}
        self.binding = Binding(self)
        self.upkeep = Upkeep(self)
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- a call comes in

    def submit(self, pool: Pool, call: Call, now: float) -> None:
        session = call.frame.call.session_id
        entry = self.entries.get((pool.name, session))
        if entry is None:
            entry = self.entries[pool.name, session] = SessionEntry(pool.name, session)
        call.session = entry
        entry.last_used = now
        entry.dirty = True
        if entry.record is None and not entry.busy:
            self.ask(entry, self._load(entry))
        if call.in_turn and not entry.busy:
            self._begin(pool, entry, call, now)
            return
        if entry.busy or entry.waiting or (pool.spec.session.ordered and entry.active):
            if not call.in_turn and self.binding.must_not_wait(pool, entry, call):
                self.router.fail(call, WorkerBusy(f"session {session!r} is ordered, and runs a call", retry_after=0.1))
            elif self.router.admit(pool, call, now, pool.spec.queue.timeout_seconds):
                (entry.waiting.appendleft if call.in_turn else entry.waiting.append)(call)
            return
        self._begin(pool, entry, call, now)

    def _begin(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        call.active = True
        entry.active += 1
        self.binding.place(pool, entry, call, now)

    def advance(self, pool: Pool, entry: SessionEntry, now: float) -> None:
        """Let the next calls of the session begin, as many as may."""
        while entry.waiting and not entry.busy and entry.record is not None:
            if pool.spec.session.ordered and entry.active and not entry.waiting[0].in_turn:
                return
            call = entry.waiting.popleft()
            if not call.closed:
                self._begin(pool, entry, call, now)

    def done(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """The call has left its worker for good, or was given up before it got one."""
        if not call.active:
            return
        call.active = False
        entry.active -= 1
        if call.sent_at:
            entry.running -= 1
        self.advance(pool, entry, now)

    def again(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """The call came back unstarted."""
        entry.running -= 1
        call.sent_at = 0.0
        call.worker = None
        self.binding.place(pool, entry, call, now)

    def assign(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        """The queue has found a worker for the call."""
        self.binding.assign(pool, entry, call, worker, now)

    def postpone(self, entry: SessionEntry, call: Call) -> None:
        """It is the session's next call again: somebody is being asked."""
        entry.waiting.appendleft(call)
        call.active = False
        entry.active -= 1

    # ---- questions

    def ask(self, entry: SessionEntry, question: Coroutine[Any, Any, None]) -> None:
        """Calls wait until the question is answered."""
        entry.busy = True
        task = asyncio.create_task(question, name=f"session {entry.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self, entry: SessionEntry) -> None:
        error: SnakepitError | None = None
        try:
            entry.record = await self.store.get_session(entry.pool, entry.id)
        except SnakepitError as problem:
            error = problem
        entry.busy = False
        pool = self.router.pools.get(entry.pool)
        if error is not None or pool is None:
            self._refuse_all(entry, error)
        else:
            self.advance(pool, entry, self.router.clock())

    def _refuse_all(self, entry: SessionEntry, error: SnakepitError | None) -> None:
        self.entries.pop((entry.pool, entry.id), None)
        while entry.waiting:
            call = entry.waiting.popleft()
            if error is not None:
                self.router.fail(call, error)

    def workers_gone(self, pool: Pool, gone: list[Worker], now: float) -> None:
        """Calls pinned to these workers look for another way."""
        for worker in gone:
            for call in pool.queue.unpin(worker):
                if call.session is not None:
                    self.binding.place(pool, call.session, call, now)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
