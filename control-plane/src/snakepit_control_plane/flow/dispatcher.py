"""The owner of queues and slots: carries out where `policy.placement` and the queue say that calls go, and moves queues on.

Nothing here awaits. A call that a session's stage has taken in goes where that says: it is the call's `placer`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging

from snakepit.errors import PoolNotReady, SnakepitError, Started
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.recalls import Recalls
from snakepit_control_plane.model.call import MOVED, Call
from snakepit_control_plane.model.capsule import SOON_SECONDS, UNKNOWN_SECONDS, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.queue import place_of
from snakepit_control_plane.model.states import RESERVED, RETURNED, SENT, Event
from snakepit_control_plane.policy.nesting import waits_for_itself
from snakepit_control_plane.policy.placement import Wait, goes_next, route

ANSWER_GRACE_SECONDS = 0.2
"""The agent ends a call at its deadline and knows whether it had started; so long is waited for its word."""

LEAST_SECONDS = 0.001
"""A call whose deadline is now goes out with so much: 0 would mean that it has none."""

LOOK_PAST = 32
"""During a rollout: calls looked at for one whose tool a free worker offers."""

log = logging.getLogger(__name__)


class Dispatcher:
    """One for each replica."""

    def __init__(self, calls: OpenCalls, agents: AgentLinks, recalls: Recalls) -> None:
        self._calls = calls
        self._deadlines = calls.deadlines
        self._agents = agents
        self._recalls = recalls
        self._loop = asyncio.get_running_loop()
        self._frame_ids = itertools.count(1)

    # ---- the last stage: a call goes to a worker, or waits

    def take(self, pool: Pool, call: Call, now: float) -> None:
        """Send a call of no session on, let it wait, or refuse it."""
        others = pool.queue.anybody.waiting
        if others and pool.uniform and pool.ready_workers and call.tool in pool.tools:
            self.join(pool, call, now)
            return
        outcome = route(pool, call, now)
        if isinstance(outcome, Worker):
            if others:
                self.join(pool, call, now)
            else:
                self.send(pool, call, outcome, now)
        elif isinstance(outcome, Wait):
            self.wait(pool, call, now, outcome.seconds)
        else:
            self._calls.fail(call, outcome)

    def join(self, pool: Pool, call: Call, now: float) -> None:
        """Go behind those that wait; past them, where they wait for a tool that the free workers don't offer."""
        self.wait(pool, call, now, pool.spec.queue.timeout_seconds)
        if not pool.uniform or goes_next(pool, call.tool):
            self.pump(pool, now)

    def wait(self, pool: Pool, call: Call, now: float, seconds: float, pin: Worker | None = None) -> None:
        """Stand in the common line, or in that of the worker `pin`, for `seconds` at most."""
        if call.nest is not None and (stuck := waits_for_itself(pool, call, pin)) is not None:
            self._calls.fail(call, stuck)
        elif self._calls.wait(pool, call, now, seconds):
            pool.queue.push(call, now, pin)

    # ---- slots

    def reserve(self, pool: Pool, call: Call, worker: Worker, now: float, event: Event = "reserve") -> None:
        """Count the call in that worker's load."""
        mean = pool.means.get(call.tool, UNKNOWN_SECONDS)
        call.move(event)
        # Nothing can come between: a call is reserved or sent exactly while it counts there.
        call.worker = worker
        call.expected = mean if mean < UNKNOWN_SECONDS else UNKNOWN_SECONDS
        if not worker.own:
            worker.progressed = now
        worker.own += 1
        worker.backlog += call.expected
        if worker.own + worker.elsewhere > worker.slots and not worker.watched:
            self._recalls.watch(pool, worker, now)
        pool.index.place(worker, now)

    def release(self, pool: Pool, call: Call, now: float) -> None:
        """The call is not on its worker any more."""
        worker = call.worker
        if worker is None:
            return
        worker.own -= 1
        if worker.own:
            left = worker.backlog - call.expected
            worker.backlog = left if left > 0.0 else 0.0
        else:
            worker.backlog = 0.0
            if worker.taken:
                # It is nobody's for a call that never began; of one that did, its agent has said so.
                worker.taken = worker.info.taken
        if pool.workers.get(worker.id) is worker:
            pool.index.place(worker, now)

    def give_back(self, pool: Pool, call: Call, now: float) -> None:
        """The slot that was reserved for the call is not wanted: it goes elsewhere, or has been answered."""
        self.release(pool, call, now)
        call.come_back(now, MOVED, "give back")
        call.worker = None
        if call.answered:
            self._calls.end(call, now)

    def send(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Reserve and dispatch."""
        try:
            self.reserve(pool, call, worker, now, "send")
            self._write(pool, call, worker, now)
        except Exception as error:
            self.undo(call, error)

    def undo(self, call: Call, error: Exception) -> None:
        """Nobody has foreseen it. The caller has an answer, and no slot, no place in the queue and no count is left behind."""
        of = {"pool": call.request.pool, "call": call.call_id, "session": call.request.session_id, "tool": call.request.tool}
        log.error("call %s of pool %s could not be sent", call.call_id, call.request.pool, exc_info=error, extra=of)
        pool, worker, now = call.pool, call.worker, self._loop.time()
        if pool is not None and worker is not None and call.state in (RESERVED, SENT):
            worker.capsule.inflight.pop(call.message.id, None)
            self.release(pool, call, now)
            call.move("return" if call.state is SENT else "give back")
            call.worker = None
            self._loop.call_soon(self.freed, pool, worker, now)
        if call.answered and call.state is RETURNED:
            self._calls.end(call, now)
        self._calls.fail(call, SnakepitError(f"the control plane could not send the call: {error!r}", started=Started.MAYBE))

    def dispatch(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Send the call to the worker whose slot is reserved for it. Whoever calls it undoes the call if it raises."""
        call.move("send")
        self._write(pool, call, worker, now)

    def _write(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Give the call to its worker's agent."""
        if call.place is not None and call.place.counted:
            self._calls.leave_queue(call, now)
        call.sent_at = now
        if pool.spec.worker.exclusive and not worker.taken:
            worker.taken = True
            pool.index.place(worker, now)
        message = call.message
        message.id = id_ = next(self._frame_ids)
        message.worker = worker.id
        message.incarnation = worker.incarnation
        message.identity = call.request.who.identity
        message.timeout_seconds = left if (left := call.deadline - now) > LEAST_SECONDS else LEAST_SECONDS
        ahead = call.expected > SOON_SECONDS and worker.own + worker.elsewhere > worker.slots
        if ahead or message.ahead:  # Whatever its caller has written there.
            call.ahead = message.ahead = ahead
        worker.capsule.inflight[id_] = call
        self._deadlines.set(call, call.deadline + ANSWER_GRACE_SECONDS)
        self._agents.tell(worker.capsule, call.frame)

    # ---- a call comes back

    def place_again(self, call: Call, reason: str, now: float) -> None:
        """A call that came back goes to somebody else, with its old place in the queue. `reason` is the agent's word."""
        pool = call.pool
        if pool is None:
            return
        call.worker = None
        place_of(call).requeued = True
        if call.placer is not None:
            call.placer.returned(call, reason, now)
            return
        self.wait(pool, call, now, pool.spec.queue.timeout_seconds)
        self.pump(pool, now)

    # ---- a slot gets free

    def freed(self, pool: Pool, worker: Worker, now: float) -> None:
        """Something about this worker changed for the better: whoever waits for it, or for anybody, may go."""
        if pool.queue.pinned:
            self._pump_pinned(pool, worker, now, alone=False)
        if pool.queue.anybody:
            self.pump(pool, now)
            if pool.queue.pinned:
                self._pump_pinned(pool, worker, now, alone=True)

    def slot_free(self, pool: Pool, worker: Worker, now: float) -> None:
        """A slot of that worker is free: for who waits; for nobody, then a call that waits behind another one is called back for it."""
        if pool.queue.depth:
            self.freed(pool, worker, now)
        if not pool.queue.anybody:
            self._recalls.slot_free(pool, worker, now)

    def _pump_pinned(self, pool: Pool, worker: Worker, now: float, *, alone: bool) -> None:
        """Move the worker's own line on; past calls that must go on waiting there (see `policy.affinity`: a retiring worker, no store)."""
        passed: list[Call] = []
        while worker.has_room and len(passed) < LOOK_PAST and (call := pool.queue.next_for(worker, now, alone=alone)) is not None:
            self._assign(pool, call, worker, now)
            place = place_of(call)
            if place.line is not None and place.line is pool.queue.pinned.get(worker):
                place.line.turn(call, place)
                passed.append(call)
        for call in passed:
            pool.queue.push(call, now, worker)

    def pump(self, pool: Pool, now: float) -> None:
        """Move the common line on as far as it goes."""
        passed: list[Call] = []
        line = pool.queue.anybody
        while (call := line.head(now)) is not None and len(passed) < LOOK_PAST:
            outcome = route(pool, call, now, others=len(line) > 1)
            if isinstance(outcome, Worker):
                self._assign(pool, call, outcome, now)
            elif isinstance(outcome, SnakepitError) and not isinstance(outcome, PoolNotReady):
                self._calls.fail(call, outcome)
            elif pool.uniform:
                break
            else:
                line.turn(call, place_of(call))
                passed.append(call)
        for call in passed:
            line.push(call, place_of(call), now)

    def _assign(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        pool.queue.turn(call, worker)
        if call.placer is not None:
            call.placer.offered(call, worker, now)
        else:
            self.send(pool, call, worker, now)
