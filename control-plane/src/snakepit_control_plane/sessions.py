"""Sessions on their way through the router: whose turn it is, which worker it is bound to, and when the store is asked.

A session that this replica knows and whose worker lives costs no store operation on the path of a call; its TTL is slid, and its
record verified, in batches. Binding and moving are compare-and-sets in the store: nothing here decides them alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from snakepit.errors import SessionWorkerUnavailable, SnakepitError, WorkerBusy
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.pools import Router
from snakepit_control_plane.router.route import route, unknown_tool
from snakepit_control_plane.router.workers import Worker
from snakepit_control_plane.store.interface import SessionRecord, Store

TOUCH_SECONDS = 1.0
"""Used sessions are touched, and verified, this often."""

IDLE_SECONDS = 60.0
"""A cached session that nobody used for this long is forgotten here (it stays in the store)."""

_AFFINITIES = {
    "hint": common_pb2.AFFINITY_HINT,
    "strict_queue": common_pb2.AFFINITY_STRICT_QUEUE,
    "strict_fail_fast": common_pb2.AFFINITY_STRICT_FAIL_FAST,
}

log = logging.getLogger(__name__)


class SessionEntry:
    """A session in this replica's cache. `active`: calls whose turn it is; `running`: those of them that are on a worker."""

    __slots__ = ("active", "busy", "dirty", "id", "last_used", "pool", "record", "running", "waiting")

    def __init__(self, pool: str, session: str) -> None:
        self.pool = pool
        self.id = session
        self.record: SessionRecord | None = None
        self.active = 0
        self.running = 0
        # The store is being asked; calls wait for its answer.
        self.busy = False
        self.dirty = False
        self.last_used = 0.0
        self.waiting: deque[Call] = deque()


class Sessions:
    """All sessions that this replica has to do with."""

    def __init__(self, router: Router, store: Store) -> None:
        self.store = store
        self._router = router
        self._entries: dict[tuple[str, str], SessionEntry] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- a call comes in

    def submit(self, pool: Pool, call: Call, now: float) -> None:
        session = call.frame.call.session_id
        entry = self._entries.get((pool.name, session))
        if entry is None:
            entry = self._entries[pool.name, session] = SessionEntry(pool.name, session)
        call.session = entry
        entry.last_used = now
        entry.dirty = True
        if entry.record is None and not entry.busy:
            self._ask(entry, self._load(entry))
        if entry.busy or entry.waiting or (pool.spec.session.ordered and entry.active):
            if self._router.admit(pool, call, now, pool.spec.queue.timeout_seconds):
                entry.waiting.append(call)
            return
        self._begin(pool, entry, call, now)

    def _begin(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        call.active = True
        entry.active += 1
        self._route(pool, entry, call, now)

    def _advance(self, pool: Pool, entry: SessionEntry, now: float) -> None:
        """Let the next calls of the session begin, as many as may."""
        while entry.waiting and not entry.busy and entry.record is not None:
            if pool.spec.session.ordered and entry.active:
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
        self._advance(pool, entry, now)

    def again(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """The call came back unstarted."""
        entry.running -= 1
        call.sent_at = 0.0
        call.worker = None
        self._route(pool, entry, call, now)

    # ---- which worker

    def _route(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        if not call.active or entry.record is None:
            return
        record = entry.record
        bound = pool.find(record.worker, record.incarnation) if record.worker else None
        refusal = unknown_tool(pool, call.tool) if bound is not None else None
        if refusal is not None:
            self._router.fail(call, refusal)
        elif bound is not None and bound.has_room:
            self._start(pool, entry, call, bound, now)
        elif bound is not None and bound.ready:
            self._bound_is_busy(pool, entry, call, bound, now)
        elif record.worker and self._is_strict(pool, call):
            self._router.fail(call, _gone(pool, record))
        else:
            self._anywhere(pool, entry, call, now)

    def _bound_is_busy(self, pool: Pool, entry: SessionEntry, call: Call, bound: Worker, now: float) -> None:
        affinity = self._affinity(pool, call)
        if affinity == common_pb2.AFFINITY_STRICT_FAIL_FAST:
            self._router.fail(call, WorkerBusy(f"worker {bound.id} of session {entry.id!r} is busy", retry_after=0.1))
        elif affinity == common_pb2.AFFINITY_STRICT_QUEUE or (self.store.problem and not entry.running):
            self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds, pin=bound)
        else:
            self._anywhere(pool, entry, call, now)

    def _anywhere(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        if len(pool.queue.anybody) and pool.ready_workers:
            self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds)
            return
        outcome = route(pool, call, now)
        if isinstance(outcome, Worker):
            self.assign(pool, entry, call, outcome, now)
        elif isinstance(outcome, SnakepitError):
            self._router.fail(call, outcome)
        else:
            self._router.wait(pool, call, now, outcome.seconds)

    def assign(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        """The queue has found a worker for the call: use it, or the bound one, or move the session there."""
        record = entry.record
        if record is None or entry.busy:
            entry.waiting.appendleft(call)
            call.active = False
            entry.active -= 1
            return
        bound = pool.find(record.worker, record.incarnation) if record.worker else None
        if bound is not None and bound.has_room:
            worker = bound
        if bound is worker or (bound is not None and entry.running):
            self._start(pool, entry, call, worker, now)
        else:
            self._router.reserve(pool, call, worker, now)
            self._ask(entry, self._bind(pool, entry, call, worker, record))

    def _start(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        self._router.reserve(pool, call, worker, now)
        self._dispatch(pool, entry, call, worker, now)

    def _dispatch(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        assert entry.record is not None
        call.frame.call.session_uid = entry.record.uid
        call.frame.call.session_epoch = entry.record.epoch
        entry.running += 1
        self._router.dispatch(pool, call, worker, now)

    # ---- the store

    def _ask(self, entry: SessionEntry, question: Coroutine[Any, Any, None]) -> None:
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
        pool = self._router.pools.get(entry.pool)
        if error is not None or pool is None:
            self._refuse_all(entry, error)
        else:
            self._advance(pool, entry, self._router.clock())

    def _refuse_all(self, entry: SessionEntry, error: SnakepitError | None) -> None:
        self._entries.pop((entry.pool, entry.id), None)
        while entry.waiting:
            call = entry.waiting.popleft()
            if error is not None:
                self._router.fail(call, error)

    async def _bind(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, known: SessionRecord) -> None:
        """Bind the session to the worker whose slot the call has reserved; whoever was first, the call follows the record."""
        error: SnakepitError | None = None
        try:
            entry.record = await self.store.bind_session(known, worker.id, worker.incarnation)
        except SnakepitError as problem:
            error = problem
        now = self._router.clock()
        entry.busy = False
        ours = entry.record is not None and entry.record.incarnation == worker.incarnation
        if error is None and ours and worker.alive and not call.closed:
            self._dispatch(pool, entry, call, worker, now)
        else:
            self._router.release(pool, call, now)
            call.worker = None
            self._not_bound(pool, entry, call, error, now)
            self._router.freed(pool, worker, now)
        self._advance(pool, entry, now)

    def _not_bound(self, pool: Pool, entry: SessionEntry, call: Call, error: SnakepitError | None, now: float) -> None:
        if call.closed:
            self.done(pool, entry, call, now)
        elif error is None:
            self._route(pool, entry, call, now)
        else:
            record = entry.record
            bound = pool.find(record.worker, record.incarnation) if record is not None and record.worker else None
            if bound is not None and bound.ready and self.store.problem:
                self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds, pin=bound)
            else:
                self._router.fail(call, error)
                self.forget(entry.pool, entry.id)

    # ---- changes from outside

    def learned(self, record: SessionRecord) -> None:
        """The record was read or changed by somebody at this replica."""
        entry = self._entries.get((record.pool, record.id))
        if entry is not None and not entry.busy:
            entry.record = record

    def forget(self, pool: str, session: str) -> None:
        """What is cached may not be true any more: the next call asks the store."""
        entry = self._entries.get((pool, session))
        if entry is not None and not entry.busy:
            entry.record = None
            if not entry.active and not entry.waiting:
                del self._entries[pool, session]

    def workers_gone(self, pool: Pool, gone: list[Worker], now: float) -> None:
        """Calls pinned to these workers look for another way."""
        for worker in gone:
            for call in pool.queue.unpin(worker):
                if call.session is not None:
                    self._route(pool, call.session, call, now)

    def end(self, pool: Pool, record: SessionRecord) -> None:
        """Tell the worker that the session is over for it."""
        worker = pool.find(record.worker, record.incarnation) if record.worker else None
        if worker is not None:
            frame = link_pb2.SessionEnd(session_id=record.id, session_uid=record.uid, worker=worker.id, incarnation=worker.incarnation)
            self._router.tell(worker.capsule, link_pb2.Frame(session_end=frame))

    async def touch_forever(self) -> None:
        """Slide the TTLs of the sessions that were used, and see which have been moved or deleted elsewhere."""
        while True:
            await asyncio.sleep(TOUCH_SECONDS)
            try:
                await self._touch()
            except SnakepitError as error:
                log.debug("sessions were not touched: %s", error)
            self._forget_idle(self._router.clock())

    async def _touch(self) -> None:
        used: dict[str, list[SessionEntry]] = {}
        for entry in self._entries.values():
            if entry.dirty and entry.record is not None:
                used.setdefault(entry.pool, []).append(entry)
        for pool, entries in used.items():
            records = await self.store.touch_sessions(pool, [entry.id for entry in entries])
            for entry, record in zip(entries, records, strict=True):
                entry.dirty = entry.active > 0
                if record is None:
                    self.forget(pool, entry.id)
                else:
                    self.learned(record)

    def _forget_idle(self, now: float) -> None:
        idle = [key for key, entry in self._entries.items() if self._is_idle(entry, now)]
        for key in idle:
            del self._entries[key]

    @staticmethod
    def _is_idle(entry: SessionEntry, now: float) -> bool:
        return not (entry.active or entry.waiting or entry.busy) and now - entry.last_used > IDLE_SECONDS

    def bound_to(self, capsule: str) -> int:
        """How many sessions known here are bound to workers of this capsule."""
        return sum(e.record is not None and e.record.worker.rpartition("/")[0] == capsule for e in self._entries.values())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- words

    def _affinity(self, pool: Pool, call: Call) -> int:
        return call.affinity or _AFFINITIES[pool.spec.affinity]

    def _is_strict(self, pool: Pool, call: Call) -> bool:
        return self._affinity(pool, call) != common_pb2.AFFINITY_HINT


def _gone(pool: Pool, record: SessionRecord) -> SessionWorkerUnavailable:
    why = pool.why_gone(record.incarnation)
    message = f"worker {record.worker} of session {record.id!r} is gone ({why}): call RebindSession to go on with another"
    return SessionWorkerUnavailable(message, details={"why": why})
