"""Which worker a session's call goes to, and moving the session there: a compare-and-set in the store, never decided here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snakepit.errors import SessionWorkerUnavailable, SnakepitError, WorkerBusy
from snakepit.v1 import common_pb2
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.route import route, unknown_tool
from snakepit_control_plane.router.workers import Worker
from snakepit_control_plane.sessions.entry import SessionEntry
from snakepit_control_plane.store.interface import SessionRecord

if TYPE_CHECKING:
    from snakepit_control_plane.sessions.turns import Sessions

_AFFINITIES = {
    "hint": common_pb2.AFFINITY_HINT,
    "strict_queue": common_pb2.AFFINITY_STRICT_QUEUE,
    "strict_fail_fast": common_pb2.AFFINITY_STRICT_FAIL_FAST,
}


class Binding:
    """For calls whose turn it is."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._router = sessions.router
        self._store = sessions.store

    def place(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        """Send the call to its worker, let it wait, or refuse it."""
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
        elif affinity == common_pb2.AFFINITY_STRICT_QUEUE or (self._store.problem and not entry.running):
            self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds, pin=bound)
        else:
            self._anywhere(pool, entry, call, now)

    def _anywhere(self, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        if pool.queue.anybody and pool.ready_workers:
            self._router.join(pool, call, now)
            return
        outcome = route(pool, call, now)
        if isinstance(outcome, Worker):
            self.assign(pool, entry, call, outcome, now)
        elif isinstance(outcome, SnakepitError):
            self._router.fail(call, outcome)
        else:
            self._router.wait(pool, call, now, outcome.seconds)

    def assign(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        """Somebody has room: use that worker, or the bound one, or move the session there."""
        record = entry.record
        if record is None or entry.busy:
            self._sessions.postpone(entry, call)
            return
        bound = pool.find(record.worker, record.incarnation) if record.worker else None
        if bound is not None and bound.has_room:
            worker = bound
        if bound is worker or (bound is not None and entry.running):
            self._start(pool, entry, call, worker, now)
        else:
            self._router.reserve(pool, call, worker, now)
            self._sessions.ask(entry, self._bind(pool, entry, call, worker, record))

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

    async def _bind(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, known: SessionRecord) -> None:
        """Bind the session to the worker whose slot the call has reserved; whoever was first, the call follows the record."""
        error: SnakepitError | None = None
        try:
            entry.record = await self._store.bind_session(known, worker.id, worker.incarnation)
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
        self._sessions.advance(pool, entry, now)

    def _not_bound(self, pool: Pool, entry: SessionEntry, call: Call, error: SnakepitError | None, now: float) -> None:
        if call.closed:
            self._sessions.done(pool, entry, call, now)
        elif error is None:
            self.place(pool, entry, call, now)
        else:
            record = entry.record
            bound = pool.find(record.worker, record.incarnation) if record is not None and record.worker else None
            if bound is not None and bound.ready and self._store.problem:
                self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds, pin=bound)
            else:
                self._router.fail(call, error)
                self._sessions.upkeep.forget(entry.pool, entry.id)

    # ---- words

    def _affinity(self, pool: Pool, call: Call) -> int:
        return call.affinity or _AFFINITIES[pool.spec.affinity]

    def _is_strict(self, pool: Pool, call: Call) -> bool:
        return self._affinity(pool, call) != common_pb2.AFFINITY_HINT

    def must_not_wait(self, pool: Pool, entry: SessionEntry, call: Call) -> bool:
        """Is the call, which never waits, behind another one of its session? To wait for the store alone is no queueing."""
        behind = pool.spec.session.ordered and (entry.active or entry.waiting)
        return bool(behind) and self._affinity(pool, call) == common_pb2.AFFINITY_STRICT_FAIL_FAST


def _gone(pool: Pool, record: SessionRecord) -> SessionWorkerUnavailable:
    why = pool.why_gone(record.incarnation)
    message = f"worker {record.worker} of session {record.id!r} is gone ({why}): call RebindSession to go on with another"
    return SessionWorkerUnavailable(message, details={"why": why})
