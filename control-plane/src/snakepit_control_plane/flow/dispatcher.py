"""The router: every pool and every open call of this replica. It carries out what `route` and the queue decide.

Nothing here awaits: frames come in, frames go out, in one turn of the event loop. What needs the store is in `sessions`, what agents
say of calls in `answers`, what is about agents in `fleet`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from snakepit._telemetry import tracing
from snakepit._wire import LinkClosed
from snakepit.errors import Cancelled, PoolNotReady, SnakepitError, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.deadlines import Deadlines
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.outcomes import Answers
from snakepit_control_plane.flow.recalls import Recalls
from snakepit_control_plane.flow.transfers import Transfers
from snakepit_control_plane.model.call import Call, check, result_frame
from snakepit_control_plane.model.capsule import SOON_SECONDS, UNKNOWN_SECONDS, Capsule, Worker
from snakepit_control_plane.model.limits import Limits
from snakepit_control_plane.model.nesting import waits_for_itself
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import MemoryBudget
from snakepit_control_plane.policy.placement import Wait, goes_next, no_worker, patience, route
from snakepit_control_plane.policy.refusals import no_pool, not_known_yet, saturated, too_many, waited_too_long
from snakepit_control_plane.telemetry import Telemetry

if TYPE_CHECKING:
    from snakepit_control_plane.flow.idempotency import Idempotency
    from snakepit_control_plane.flow.sessions import Sessions

ANSWER_GRACE_SECONDS = 0.2
"""The agent ends a call at its deadline and knows whether it had started; so long is waited for its word."""

LOOK_PAST = 32
"""During a rollout: calls looked at for one whose tool a free worker offers."""

Send = Callable[[link_pb2.Frame], None]

log = logging.getLogger(__name__)


class Dispatcher(OpenCalls):
    """One for each replica. `sessions` and `idempotency` are set by the composition: they and the router know each other."""

    sessions: Sessions
    idempotency: Idempotency

    def __init__(self, telemetry: Telemetry, limits: Limits) -> None:
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time
        self.telemetry = telemetry
        self.room = MemoryBudget(limits.max_waiting_bytes)
        self.limits = limits
        self.pools: dict[str, Pool] = {}
        self.senders: dict[Capsule, Send] = {}
        # Until a replica that starts has heard of them all; the fleet says so.
        self.knows_pools: Callable[[], bool] = lambda: True
        self._arrivals = itertools.count(1)
        self._frame_ids = itertools.count(1)
        self._deadlines = Deadlines(self.loop, self._timed_out)
        self.recalls = Recalls(self)
        self.answers = Answers(self)
        self.transfers = Transfers(self)

    # ---- a call comes in

    def submit(self, call: Call) -> None:
        """Take a call. Its `reply` is called exactly once, now or later."""
        self.open_calls += 1
        try:
            self._submit(call, call.started_at)
        except Exception as error:
            self.undo(call, error)

    def _submit(self, call: Call, now: float) -> None:
        call.arrival = next(self._arrivals)
        pool = self.pools.get(call.pool) or self.pools.get(f"default/{call.pool}")
        problem = self._unknown(call.pool) if pool is None else check(call, pool, self.limits)
        if pool is None or problem is not None:
            self.fail(call, problem or self._unknown(call.pool))
            return
        call.home, call.pool = pool, pool.name
        if pool.callers.limit and (call.nest is None or call.nest.by_client) and not pool.callers.admit(call):
            self.fail(call, too_many(pool, call))
            return
        self._set_deadline(pool, call, now)
        if tracing.enabled():
            self._start_span(call)
        if pool.budget is not None:
            pool.budget.count(now)
        if call.request.idempotency_key:
            self.idempotency.submit(pool, call, now)
        elif call.request.session_id:
            self.sessions.submit(pool, call, now)
        else:
            self.place(pool, call, now)

    def launch(self, pool: Pool, call: Call) -> None:
        """Take a call of our own, which runs on behalf of others: they are counted, it is not."""
        self.open_calls += 1
        call.home, call.pool = pool, pool.name
        if call.request.session_id:
            self.sessions.submit(pool, call, call.started_at)
        else:
            self.place(pool, call, call.started_at)

    def remind(self, call: Call, at: float) -> None:
        """End the call at that time for its deadline, unless it has ended before."""
        self._deadlines.set(call, at)

    def pool(self, name: str) -> Pool:
        """The pool of that full name. Raises PoolNotFound, and PoolNotReady where it may be learnt of yet."""
        pool = self.pools.get(name)
        if pool is None:
            raise self._unknown(name)
        return pool

    def _unknown(self, name: str) -> SnakepitError:
        return no_pool(name, self.pools) if self.knows_pools() else not_known_yet(name)

    def _set_deadline(self, pool: Pool, call: Call, now: float) -> None:
        """Whoever says it, never later than the pool allows: a timer of some centuries can't be set."""
        limits = pool.spec.call
        if not call.timeout:
            tool = pool.tools.get(call.tool)
            default = limits.stream_timeout_seconds if call.is_stream else limits.timeout_seconds
            call.deadline = now + (tool.timeout_seconds if tool is not None and tool.timeout_seconds > 0 else default)
        latest = now + limits.max_timeout_seconds
        if call.deadline > latest:
            call.deadline = latest

    def _start_span(self, call: Call) -> None:
        parent = call.request.traceparent
        call.span = tracing.start_span(
            f"route {call.tool}", parent, {"snakepit.pool": call.pool, "snakepit.tool": call.tool}, kind="server"
        )
        if call.span is not None:
            call.request.traceparent = call.span.traceparent

    # ---- it goes to a worker, or waits

    def place(self, pool: Pool, call: Call, now: float) -> None:
        """Send a call of no session on, let it wait, or refuse it."""
        outcome = route(pool, call, now)
        if isinstance(outcome, Worker):
            if not pool.queue.anybody:
                self.send(pool, call, outcome, now)
            else:
                self.join(pool, call, now)
        elif isinstance(outcome, Wait):
            self.wait(pool, call, now, outcome.seconds)
            if goes_next(pool, call.tool) and len(pool.queue.anybody) > 1:
                self.pump(pool, now)
        else:
            self.fail(call, outcome)

    def join(self, pool: Pool, call: Call, now: float) -> None:
        """Go behind those that wait; past them, where they wait for a tool that the free workers don't offer."""
        self.wait(pool, call, now, pool.spec.queue.timeout_seconds)
        if not pool.uniform:
            self.pump(pool, now)

    def admit(self, pool: Pool, call: Call, now: float, seconds: float) -> bool:
        """Count the call as waiting from now on; False when it was refused because the queue is full."""
        if call.waiting:
            if seconds > call.queue_seconds:
                self._allow(call, seconds)
            return True
        if pool.queue.is_full and not call.requeued:
            self.fail(call, saturated(pool))
            return False
        if not self.room.take(call, anyway=call.requeued):
            self.fail(call, self.room.full(call))
            return False
        call.stand_alone()
        pool.queue.enter(call)
        call.queued_at = now
        if call.span is not None:
            call.queue_span = tracing.start_span("queue", call.span.traceparent, {"snakepit.pool": call.pool})
        self._allow(call, max(call.queue_seconds, seconds))
        return True

    def _allow(self, call: Call, seconds: float) -> None:
        """The call may wait in the queue for so long, in all."""
        call.queue_seconds = seconds
        self._deadlines.set(call, min(call.deadline, call.queued_at + seconds - call.waited))

    def wait(self, pool: Pool, call: Call, now: float, seconds: float, pin: Worker | None = None) -> None:
        if call.nest is not None and (stuck := waits_for_itself(pool, call, pin)) is not None:
            self.fail(call, stuck)
        elif self.admit(pool, call, now, seconds):
            pool.queue.push(call, now, pin)

    def leave_queue(self, pool: Pool, call: Call, now: float) -> None:
        """Of one that waits."""
        pool.queue.leave(call)
        if call.room:
            self.room.give_back(call)
        call.waited += now - call.queued_at
        self.telemetry.waits.observe(pool.name, now - call.queued_at)
        if call.queue_span is not None:
            call.queue_span.end()
            call.queue_span = None

    def reserve(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Count the call in that worker's load."""
        mean = pool.mean_seconds(call.tool)
        call.expected = mean if mean < UNKNOWN_SECONDS else UNKNOWN_SECONDS
        if not worker.own:
            worker.progressed = now
        # Nothing can come between: a call has a worker exactly while it counts there.
        call.worker = worker
        worker.own += 1
        worker.backlog += call.expected
        if worker.own + worker.elsewhere > worker.slots and not worker.watched:
            self.recalls.watch(pool, worker, now)
        pool.index.place(worker, now)

    def release(self, pool: Pool, call: Call, now: float) -> None:
        """The call is not on its worker any more."""
        worker = call.worker
        if worker is None:
            return
        worker.own -= 1
        if worker.taken and not worker.own:
            # It is nobody's for a call that never began; of one that did, its agent has said so.
            worker.taken = worker.info.taken
        worker.backlog = max(0.0, worker.backlog - call.expected) if worker.own else 0.0
        if pool.workers.get(worker.id) is worker:
            pool.index.place(worker, now)

    def send(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Reserve and dispatch."""
        try:
            self.reserve(pool, call, worker, now)
            self.dispatch(pool, call, worker, now)
        except Exception as error:
            self.undo(call, error)

    def undo(self, call: Call, error: Exception) -> None:
        """Nobody has foreseen it. The caller has an answer, and no slot, no place in the queue and no count is left behind."""
        log.error("call %s of pool %s could not be sent", call.call_id, call.pool, exc_info=error)
        pool, worker, now = call.home, call.worker, self.clock()
        if pool is not None and worker is not None:
            worker.capsule.inflight.pop(call.request.id, None)
            self.release(pool, call, now)
            call.worker = None
            self.loop.call_soon(self.freed, pool, worker, now)
        self.fail(call, SnakepitError(f"the control plane could not send the call: {error!r}", started=Started.MAYBE))

    def dispatch(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        """Write the call to its worker's agent; a slot is reserved already. Whoever calls it undoes the call if it raises."""
        if call.waiting:
            self.leave_queue(pool, call, now)
        call.sent_at = now
        if pool.spec.worker.exclusive and not worker.taken:
            worker.taken = True
            pool.index.place(worker, now)
        frame = call.request
        frame.id = next(self._frame_ids)
        frame.worker = worker.id
        frame.incarnation = worker.incarnation
        frame.timeout_seconds = max(0.001, call.deadline - now)
        if (ahead := call.expected > SOON_SECONDS and worker.own + worker.elsewhere > worker.slots) is not call.ahead:
            call.ahead = frame.ahead = ahead
        worker.capsule.inflight[frame.id] = call
        self._deadlines.set(call, call.deadline + ANSWER_GRACE_SECONDS)
        self.tell(worker.capsule, call.frame)

    def tell(self, capsule: Capsule, frame: link_pb2.Frame) -> None:
        """Send a frame to an agent. A link that has just broken is not an error: its hello, or its silence, settles the calls."""
        sender = self.senders.get(capsule)
        if sender is not None:
            try:
                sender(frame)
            except LinkClosed:
                return

    # ---- a slot gets free

    def freed(self, pool: Pool, worker: Worker, now: float) -> None:
        """Something about this worker changed for the better: whoever waits for it, or for anybody, may go."""
        if pool.queue.pinned:
            self._pump_pinned(pool, worker, now, alone=False)
        if pool.queue.anybody:
            self.pump(pool, now)
            if pool.queue.pinned:
                self._pump_pinned(pool, worker, now, alone=True)

    def _pump_pinned(self, pool: Pool, worker: Worker, now: float, *, alone: bool) -> None:
        """Move the worker's own line on; past calls that must go on waiting there (see `sessions.ways`: a retiring worker, no store)."""
        passed: list[Call] = []
        while worker.has_room and len(passed) < LOOK_PAST and (call := pool.queue.next_for(worker, now, alone=alone)) is not None:
            self.assign(pool, call, worker, now)
            line = call.line
            if line is not None and line is pool.queue.pinned.get(worker):
                line.turn(call)
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
                self.assign(pool, call, outcome, now)
            elif isinstance(outcome, SnakepitError) and not isinstance(outcome, PoolNotReady):
                self.fail(call, outcome)
            elif pool.uniform:
                break
            else:
                line.turn(call)
                passed.append(call)
        for call in passed:
            line.push(call, now)

    def assign(self, pool: Pool, call: Call, worker: Worker, now: float) -> None:
        pool.queue.turn(call, worker)
        if call.session is not None:
            self.sessions.assign(pool, call.session, call, worker, now)
        else:
            self.send(pool, call, worker, now)

    # ---- the caller's end

    def fail(self, call: Call, error: SnakepitError) -> None:
        """Answer with an error, and give up the call's place."""
        if call.closed:
            return
        if call.reruns and error.started is Started.NO:
            error.started = Started.MAYBE
        if not call.sent_at:
            self.telemetry.refusals.labels(call.pool if call.home is not None else "", error.reason).inc()
        self.close(call, result_frame(call, error))
        if call.worker is None:
            self.abandon(call)

    def abandon(self, call: Call) -> None:
        """A call that is on no worker has ended: it is its session's next one's turn."""
        if call.home is not None and call.session is not None:
            self.sessions.done(call.home, call.session, call, self.clock())

    def cancel(self, call: Call, error: SnakepitError | None = None) -> None:
        """The caller has gone, or its deadline has passed (`error`). The slot is free when the tool has stopped."""
        if call.closed:
            return
        if call.sent_at and call.worker is not None:
            reason = "CANCELLED" if error is None else error.reason
            self.tell(call.worker.capsule, link_pb2.Frame(cancel=link_pb2.Cancel(id=call.request.id, reason=reason)))
        started = Started.MAYBE if call.sent_at else Started.NO
        self.fail(call, error or Cancelled("the caller cancelled the call", started=started))

    def close(self, call: Call, frame: link_pb2.Frame) -> None:
        """Answer the caller: once."""
        if call.closed:
            return
        call.closed = True
        now = self.clock()
        self.ended()
        self._deadlines.discard(call)
        if call.home is not None:
            if call.waiting:
                self.leave_queue(call.home, call, now)
            if call.capped and not call.is_held:
                call.home.callers.done(call)
        if call.nest is not None:
            call.nest.end()
        if call.sink is not None:
            self.transfers.closed(call)
        result = frame.result
        if not call.inner:
            self._record(call, _outcome(result), now)
        result.id = call.id
        result.call_id = call.call_id
        call.reply(call, frame)

    def _record(self, call: Call, outcome: str, now: float) -> None:
        """Labels come from what is known here, never from what a caller made up."""
        pool, tool = ("", "") if call.home is None else (call.pool, call.tool if call.tool in call.home.tools else "")
        self.telemetry.calls.add(pool, tool, outcome)
        self.telemetry.seconds.observe(pool, now - call.started_at)
        if call.span is not None:
            call.span.end("" if outcome == "OK" else outcome)

    # ---- time

    def told_hopeless(self, pool: Pool, now: float) -> None:
        """Where no worker was ever ready and each says why it can't be, those who wait are told instead of waiting on."""
        if pool.queue.depth and pool.is_hopeless and not isinstance(refusal := no_worker(pool, now), Wait):
            for call in pool.queue.everybody():
                self.fail(call, refusal)

    def _timed_out(self, call: Call, now: float) -> None:
        if call.closed:
            return
        if now >= call.deadline:
            self.cancel(call, call.expired(now))
        elif call.home is not None and (seconds := patience(call.home, now)) > call.queue_seconds:
            self._allow(call, seconds)
        else:
            never = call.home is not None and not call.home.was_ready and no_worker(call.home, now)
            self.fail(call, never if isinstance(never, SnakepitError) else waited_too_long(call, now))

    def stop(self) -> None:
        self._deadlines.stop()
        self.recalls.stop()


def _outcome(result: link_pb2.Result) -> str:
    kind = result.WhichOneof("outcome")
    if kind == "error":
        return result.error.reason
    return "TOOL_ERROR" if kind == "tool_error" else "OK"
