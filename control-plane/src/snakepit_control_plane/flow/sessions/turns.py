"""Whose turn it is: the calls of each session at this replica, in the order in which they came.

A session that this replica knows and whose worker lives costs no store operation on the path of a call. Which worker a call goes to
is decided in `binding`; the order between replicas is the bound agent's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from snakepit.errors import SnakepitError, Started, WorkerBusy
from snakepit_control_plane.flow.sessions.binding import Binding
from snakepit_control_plane.flow.sessions.releases import Releases
from snakepit_control_plane.flow.sessions.upkeep import Upkeep
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import SessionEntry
from snakepit_control_plane.store.interface import Fence, SessionRecord, Store

if TYPE_CHECKING:
    from snakepit_control_plane.flow.dispatcher import Dispatcher

log = logging.getLogger(__name__)


class Sessions:
    """All sessions that this replica has to do with."""

    def __init__(self, router: Dispatcher, store: Store) -> None:
        self.store = store
        self.router = router
        self.entries: dict[tuple[str, str], SessionEntry] = {}
        self.releases = Releases(router.tell)
        self.binding = Binding(self)
        self.upkeep = Upkeep(self)
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- a call comes in

    def submit(self, pool: Pool, call: Call, now: float) -> None:
        session = call.request.session_id
        entry = self.entries.get((pool.name, session))
        if entry is None:
            entry = self.entries[pool.name, session] = SessionEntry(pool.name, session)
        elif entry.may_have_expired(now):
            entry.record = None
        call.session = entry
        entry.last_used = now
        entry.dirty = True
        if self._may_begin(pool, entry, call):
            self._begin(pool, entry, call, now)
        elif not call.in_turn and self.binding.must_not_wait(pool, entry, call):
            self.router.fail(call, WorkerBusy(f"session {session!r} is ordered, and runs a call", retry_after=0.1))
        elif self.router.admit(pool, call, now, pool.spec.queue.timeout_seconds):
            entry.waiting[call] = None
            if call.in_turn:
                entry.waiting.move_to_end(call, last=False)
            self._know(entry)

    def _may_begin(self, pool: Pool, entry: SessionEntry, call: Call) -> bool:
        if entry.must_wait(call):
            return False
        if call.in_turn:
            return True
        return not entry.waiting and not (pool.spec.session.ordered and entry.active)

    def _begin(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        call.active = True
        entry.active += 1
        self.binding.place(pool, entry, call, now)

    def advance(self, pool: Pool, entry: SessionEntry, now: float) -> None:
        """Let the next calls of the session begin, as many as may."""
        while entry.waiting and not entry.busy and entry.record is not None:
            call = next(iter(entry.waiting))
            if pool.spec.session.ordered and entry.active and not call.in_turn:
                return
            del entry.waiting[call]
            self._begin(pool, entry, call, now)
        if not entry.waiting:
            entry.waiting.clear()  # Its table too: most sessions never have two calls at once.
        self._know(entry)

    def done(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """The call has left its worker for good, or was given up before it got one."""
        if not call.active:
            entry.waiting.pop(call, None)
            return
        call.active = False
        entry.active -= 1
        self.advance(pool, entry, now)

    def again(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """The call came back unstarted."""
        call.sent_at = 0.0
        call.worker = None
        self.binding.place(pool, entry, call, now)

    def assign(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        """The queue has found a worker for the call."""
        self.binding.place(pool, entry, call, now, worker)

    def postpone(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """It is the session's next call again: somebody is being asked, or must be."""
        call.active = False
        entry.active -= 1
        if self.router.admit(pool, call, now, pool.spec.queue.timeout_seconds):
            entry.waiting[call] = None
            entry.waiting.move_to_end(call, last=False)

    # ---- changes

    def moved_on(self, entry: SessionEntry, fence: Fence) -> None:
        """An agent has let the session go under that epoch: where it is now, the store knows."""
        entry.released = fence
        if not entry.busy:
            entry.record = None

    def moved(self, pool: Pool, entry: SessionEntry, old: SessionRecord, now: float) -> None:
        """The store has said so: its calls need not wait for the former worker."""
        worker = pool.find(old.worker, old.incarnation) if old.worker else None
        for call in pool.queue.pinned_of(worker, entry) if worker is not None else ():
            self.binding.place(pool, entry, call, now)

    def workers_gone(self, pool: Pool, gone: list[Worker], now: float) -> None:
        """Calls pinned to these workers look for another way."""
        for worker in gone:
            self.releases.unanswered(worker.incarnation)
            self._place_again(pool, worker, now)

    def unheard(self, capsule: Capsule) -> None:
        """Its answers won't come, or too late."""
        for worker in capsule.everyone:
            self.releases.unanswered(worker.incarnation)

    def reconsider(self, pool: Pool, capsule: Capsule, now: float) -> None:
        """The capsule's workers may have begun to leave: those that wait for them look for another way."""
        for worker in capsule.everyone:
            if worker in pool.queue.pinned and capsule.linked and not (worker.alive or (worker.retiring and capsule.routable)):
                self._place_again(pool, worker, now)

    def _place_again(self, pool: Pool, worker: Worker, now: float) -> None:
        for call in pool.queue.unpin(worker):
            if call.session is not None:
                self.binding.place(pool, call.session, call, now)

    # ---- questions

    def ask(self, entry: SessionEntry, question: Coroutine[Any, Any, None]) -> None:
        """Calls wait until the question is answered."""
        entry.busy = True
        task = asyncio.create_task(question, name=f"session {entry.id}")
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._answered(entry, task))

    def _answered(self, entry: SessionEntry, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nobody has foreseen it; whoever waits is told instead of waiting for a deadline.
            log.error("a question about session %s of pool %s went wrong", entry.id, entry.pool, exc_info=error)
            entry.busy = entry.asking = False
            message = f"what is known of session {entry.id!r} could not be found out: {error!r}"
            self.refuse_all(entry, SnakepitError(message, started=Started.NO))

    def _know(self, entry: SessionEntry) -> None:
        """Calls wait, and nothing is known of their session: ask."""
        if entry.waiting and entry.record is None and not entry.busy:
            self.ask(entry, self._load(entry))

    async def _load(self, entry: SessionEntry) -> None:
        error: SnakepitError | None = None
        try:
            entry.record = await self.store.get_session(entry.pool, entry.id)
            entry.fresh = True
            self.upkeep.loaded(entry.record)
        except SnakepitError as problem:
            error = problem
        entry.busy = False
        pool = self.router.pools.get(entry.pool)
        if error is not None or pool is None:
            self.refuse_all(entry, error)
        else:
            self.advance(pool, entry, self.router.clock())

    def refuse_all(self, entry: SessionEntry, error: SnakepitError | None) -> None:
        """Nothing can be known of the session now: whoever waits for it has failed. None: its pool is gone, and its calls with it."""
        entry.record = None
        if not entry.active:
            self.entries.pop((entry.pool, entry.id), None)
        while entry.waiting:
            call, _ = entry.waiting.popitem(last=False)
            if error is not None:
                self.router.fail(call, error)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
