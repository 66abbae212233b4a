"""Which worker a session's call goes to, and moving the session there: a compare-and-set in the store, never decided here alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from snakepit.errors import SessionWorkerUnavailable, SnakepitError, Started, WorkerBusy
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import SessionEntry, SessionRecord
from snakepit_control_plane.policy.affinity import Action, AffinityRequest, BindingState, binding_state, choose
from snakepit_control_plane.policy.placement import pick, route, unknown_tool

if TYPE_CHECKING:
    from snakepit_control_plane.flow.sessions.turns import Sessions

LOOK_SECONDS = 0.2
"""Between two looks for an agent that lives and has not linked to this replica yet."""

SUCCESSOR_SECONDS = 1.0
"""How long the answer of an agent is waited for that may have taken the place of the session's own."""

VERDICT_SECONDS = 2.0
"""How long after an agent's time-out the verdict on it may take."""

_AFFINITIES = {
    "hint": common_pb2.AFFINITY_HINT,
    "strict_queue": common_pb2.AFFINITY_STRICT_QUEUE,
    "strict_fail_fast": common_pb2.AFFINITY_STRICT_FAIL_FAST,
}

log = logging.getLogger(__name__)


class Binding:
    """For calls whose turn it is."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._dispatcher = sessions.dispatcher
        self._calls = sessions.calls
        self._store = sessions.store

    def place(self, pool: Pool, entry: SessionEntry, call: Call, now: float, offered: Worker | None = None) -> None:
        """Send the call to its worker, let it wait, or refuse it. `offered`: the queue has found that one to have room."""
        if call not in entry.active:
            return
        try:
            self._place(pool, entry, call, now, offered)
        except Exception as error:
            self._dispatcher.undo(call, error)

    def _place(self, pool: Pool, entry: SessionEntry, call: Call, now: float, offered: Worker | None) -> None:
        if entry.returns != self._store.returns and not entry.busy and not self._store.problem:
            # The store was away, perhaps from this replica alone: others may have moved the session, whose agent they have declared lost.
            entry.record = None
        if entry.record is None or entry.must_wait(call):
            self._sessions.postpone(pool, entry, call, now)
            self._sessions.advance(pool, entry, now)
            return
        if entry.is_closed_to(call):
            self._sessions.refuse(pool, entry, call)
            return
        entry.used(now)
        state, bound = binding_state(pool, entry.record, released=entry.is_released)
        if bound is not None and call.tool not in pool.tools:
            self._calls.fail(call, unknown_tool(pool, call.tool))
            return
        action = Action.BOUND if state is BindingState.FULL and entry.in_use else choose(state, self._request(pool, call, offered))
        fresh, entry.fresh, entry.in_use = entry.fresh, False, False
        if action in (Action.BUSY, Action.REFUSE) and not fresh and not self._store.problem:
            # It may have moved through another replica a moment ago: nothing is refused on hearsay.
            entry.record = None
            self._sessions.postpone(pool, entry, call, now)
            self._sessions.advance(pool, entry, now)
            return
        self._go(action, pool, entry, call, now, bound, offered)

    def _request(self, pool: Pool, call: Call, offered: Worker | None) -> AffinityRequest:
        return AffinityRequest(
            affinity=self._affinity(pool, call),
            alone=pool.spec.session.ordered,
            within=call.in_turn,
            room=offered is not None or (not pool.queue.anybody and pick(pool, call.tool) is not None),
            store_away=bool(self._store.problem),
            exclusive=pool.spec.worker.exclusive,
        )

    def _go(
        self, action: Action, pool: Pool, entry: SessionEntry, call: Call, now: float, bound: Worker | None, offered: Worker | None
    ) -> None:
        if action is Action.BOUND and bound is not None:
            self._start(pool, entry, call, bound, now)
        elif action is Action.PINNED and bound is not None:
            self._wait_for(pool, call, bound, now)
        elif action in (Action.ASK, Action.ASK_LATER, Action.FIND):
            self._inquire(action, pool, entry, call, now, bound)
        elif action is Action.BUSY:
            self._calls.fail(call, WorkerBusy(f"the worker of session {entry.id!r} is busy", retry_after=0.1))
        elif action is Action.REFUSE and entry.record is not None:
            self._refuse(pool, entry, entry.record, call)
        elif offered is not None and action is not Action.ANYBODY:
            self._take(action, pool, entry, call, offered, now)
        else:
            self._anywhere(action, pool, entry, call, now)

    def _refuse(self, pool: Pool, entry: SessionEntry, record: SessionRecord, call: Call) -> None:
        """Its worker is gone. The first of its calls that is told so, at whichever replica, is counted as the session's loss."""
        why = pool.why_gone(record.worker, record.incarnation)
        if entry.lost != record.fence:
            entry.lost = record.fence
            self._sessions.beside.spawn(self._sessions.upkeep.count_lost(entry, record, why), f"session {entry.id} is lost")
        message = f"worker {record.worker} of session {record.id!r} is gone ({why}): call RebindSession to go on with another"
        self._calls.fail(call, SessionWorkerUnavailable(message, details={"why": why}))

    # ---- to a worker

    def _anywhere(self, action: Action, pool: Pool, entry: SessionEntry, call: Call, now: float) -> None:
        if action is Action.ANYBODY or (pool.queue.anybody and pool.ready_workers):
            self._dispatcher.join(pool, call, now)
            return
        outcome = route(pool, call, now)
        if isinstance(outcome, Worker):
            self._take(action, pool, entry, call, outcome, now)
        elif isinstance(outcome, SnakepitError):
            self._calls.fail(call, outcome)
        else:
            self._dispatcher.wait(pool, call, now, outcome.seconds)

    def _take(self, action: Action, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        if action is Action.BESIDE or entry.record is None:
            self._start(pool, entry, call, worker, now)
            return
        self._dispatcher.reserve(pool, call, worker, now)
        self._sessions.ask(entry, self._bind(pool, entry, call, worker, entry.record))

    def _wait_for(self, pool: Pool, call: Call, bound: Worker, now: float) -> None:
        """For a free slot; where its agent can't be heard, for the verdict on it, which may take longer than a queue's patience."""
        seconds = pool.spec.queue.timeout_seconds
        if not bound.capsule.routable:
            seconds = max(seconds, pool.spec.heartbeat.timeout_seconds + VERDICT_SECONDS)
        self._dispatcher.wait(pool, call, now, seconds, pin=bound)

    def _start(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        self._fence(pool, entry, call)
        self._dispatcher.send(pool, call, worker, now)

    def _begin(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, now: float) -> None:
        """On the worker whose slot the call has reserved."""
        try:
            self._fence(pool, entry, call)
            self._dispatcher.dispatch(pool, call, worker, now)
        except Exception as error:
            self._dispatcher.undo(call, error)

    def _fence(self, pool: Pool, entry: SessionEntry, call: Call) -> None:
        assert entry.record is not None
        frame = call.message
        frame.session_uid = entry.record.uid
        frame.session_epoch = entry.record.epoch
        frame.turn = self._turn(pool, call)

    def _turn(self, pool: Pool, call: Call) -> link_pb2.Turn:
        if call.in_turn:
            return link_pb2.TURN_WITHIN_PARENT
        if not pool.spec.session.ordered:
            return link_pb2.TURN_UNSPECIFIED
        alone = self._affinity(pool, call) == common_pb2.AFFINITY_STRICT_FAIL_FAST
        return link_pb2.TURN_NOW if alone else link_pb2.TURN_WAIT

    # ---- questions

    def _inquire(self, action: Action, pool: Pool, entry: SessionEntry, call: Call, now: float, bound: Worker | None) -> None:
        record = entry.record
        self._sessions.postpone(pool, entry, call, now)
        if record is None or call.answered:
            self._sessions.advance(pool, entry, now)
        elif bound is None:
            self._sessions.ask(entry, self._find(pool, entry, record))
        else:
            self._sessions.ask(entry, self._ask(pool, entry, record, bound, wait=action is Action.ASK_LATER))

    async def _ask(self, pool: Pool, entry: SessionEntry, record: SessionRecord, bound: Worker, *, wait: bool) -> None:
        entry.asking = True
        released = await self._sessions.releases.ask(bound.capsule, record, wait=wait)
        entry.asking = False
        if released:
            entry.released = record.fence
        entry.in_use = released is False
        entry.busy = False
        self._sessions.advance(pool, entry, self._sessions.clock())

    async def _find(self, pool: Pool, entry: SessionEntry, record: SessionRecord) -> None:
        """Nothing was heard of its worker here: find out, as long as a call waits."""
        try:
            while entry.waiting and _is_unknown(pool, record):
                if await self.look(pool, record) and _is_unknown(pool, record):
                    await asyncio.sleep(LOOK_SECONDS)
        except SnakepitError as error:
            entry.busy = False
            self._sessions.refuse_all(entry, error)
            return
        entry.busy = False
        self._sessions.advance(pool, entry, self._sessions.clock())

    async def look(self, pool: Pool, record: SessionRecord) -> bool:
        """May the worker, of which nothing was heard here, be alive? If not, the pool notes its end."""
        worker = pool.find(record.worker, record.incarnation)
        capsule = worker.capsule if worker is not None else pool.capsules.get(record.agent)
        if capsule is not None and capsule.linked:
            # Its answer comes behind all that it has reported.
            answer = await self._sessions.releases.ask(capsule, record, look=True)
            lives = answer is None or pool.find(record.worker, record.incarnation) is not None
        else:
            leased = await self._store.has_lease(pool.name, record.agent) or not pool.trusts_leases(self._sessions.clock())
            lives = leased and not await self._has_successor(pool, record)
        if not lives:
            pool.note_end(record.incarnation, "lost")
        return lives

    async def _has_successor(self, pool: Pool, record: SessionRecord) -> bool:
        """Does another agent of the worker's capsule live? One that answers now, after the session was bound, came after the session's own.

        That it is linked proves nothing: it may be the predecessor, whose end this replica has not noticed yet.
        """
        name = record.worker.rpartition("/")[0]
        other = next((each for each in pool.capsules.values() if each.name == name and each.linked), None)
        if other is None or other.incarnation == record.agent:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SUCCESSOR_SECONDS):
                return await self._sessions.releases.ask(other, record, look=True) is not None
        return False

    # ---- the store

    async def _bind(self, pool: Pool, entry: SessionEntry, call: Call, worker: Worker, known: SessionRecord) -> None:
        """Bind the session to the worker whose slot the call has reserved; whoever was first, the call follows the record."""
        error: SnakepitError | None = None
        why = _why_moved(pool, known) if known.worker else ""
        try:
            entry.record = await self._store.bind_session(known, worker.id, worker.incarnation, worker.capsule.incarnation, why)
        except SnakepitError as problem:
            error = problem
        except Exception as problem:
            # Nobody has foreseen it; the call gives its slot back all the same.
            of = {"pool": entry.pool, "session": entry.id}
            log.exception("session %s of pool %s could not be bound", entry.id, entry.pool, extra=of)
            error = SnakepitError(f"session {entry.id!r} could not be bound: {problem!r}", started=Started.NO)
        now = self._sessions.clock()
        entry.busy = False
        ours = entry.record is not None and entry.record.incarnation == worker.incarnation and not entry.is_released
        if ours and known.worker and known.incarnation != worker.incarnation:
            self._sessions.telemetry.sessions_moved.add(pool.name, why)
        if error is None and ours and worker.alive and not call.answered:
            self._begin(pool, entry, call, worker, now)
        else:
            self._dispatcher.give_back(pool, call, now)
            self._not_bound(pool, entry, call, error, now)
            self._dispatcher.freed(pool, worker, now)
        self._sessions.advance(pool, entry, now)

    def _not_bound(self, pool: Pool, entry: SessionEntry, call: Call, error: SnakepitError | None, now: float) -> None:
        if error is None:
            self.place(pool, entry, call, now)
        elif not call.answered:
            self._calls.fail(call, error)
            self._sessions.upkeep.forget(entry.pool, entry.id)

    # ---- affinities

    def _affinity(self, pool: Pool, call: Call) -> int:
        return call.request.affinity or _AFFINITIES[pool.spec.affinity]

    def must_not_wait(self, pool: Pool, entry: SessionEntry, call: Call) -> bool:
        """Is the call, which never waits, behind another one of its session? To wait for the store alone is no queueing."""
        behind = pool.spec.session.ordered and (entry.active or entry.waiting)
        return bool(behind) and self._affinity(pool, call) == common_pb2.AFFINITY_STRICT_FAIL_FAST


def _why_moved(pool: Pool, old: SessionRecord) -> str:
    """What is or was the matter with its former worker."""
    worker = pool.find(old.worker, old.incarnation)
    return "busy" if worker is not None and worker.alive else pool.why_gone(old.worker, old.incarnation)


def _is_unknown(pool: Pool, record: SessionRecord) -> bool:
    return binding_state(pool, record, released=False)[0] is BindingState.UNKNOWN
