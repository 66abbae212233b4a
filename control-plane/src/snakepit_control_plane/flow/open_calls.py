"""The caller's end of each call: opened, answered once, given up at its deadline; and its end, when no agent has it any more.

Nothing here awaits: frames come in, frames go out, in one turn of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Iterator

from snakepit._telemetry.metrics.control_plane import PRIORITIES
from snakepit.errors import Cancelled, SnakepitError, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow import spans
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.deadlines import Deadlines
from snakepit_control_plane.model.call import Call, Reply, Request, Sink, Source, outcome_of, result_frame
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.queue import Place, place_of
from snakepit_control_plane.model.quotas import MemoryBudget
from snakepit_control_plane.model.records import Records
from snakepit_control_plane.model.states import LEFT, QUEUED, RESERVED, SENT
from snakepit_control_plane.policy.admission import pool_deleted, saturated, waited_too_long
from snakepit_control_plane.policy.placement import Wait, no_worker, patience
from snakepit_control_plane.telemetry import Telemetry


class OpenCount:
    """Which calls a replica has open, so that one that stops can wait for the last of them."""

    def __init__(self) -> None:
        self.unanswered: dict[Call, None] = {}
        """In the order in which they came."""
        self._to_fetch = 0
        self._delivering = 0
        self._idle: asyncio.Event | None = None

    @property
    def count(self) -> int:
        """Those without an answer, or whose caller has yet to fetch its large result."""
        return len(self.unanswered) + self._to_fetch

    def to_fetch(self) -> None:
        """A call's large result is there, for its caller to fetch."""
        self._to_fetch += 1

    def fetched(self) -> None:
        """It was, or nobody will."""
        self._to_fetch -= 1
        self._perhaps_idle()

    @contextlib.contextmanager
    def delivering(self) -> Iterator[None]:
        """A call with a stream of its own. It is answered when its last words are taken from here; a slow reader has them later."""
        self._delivering += 1
        try:
            yield
        finally:
            self._delivering -= 1
            self._perhaps_idle()

    @property
    def is_idle(self) -> bool:
        """Is no call open, and has everybody been given what there was to say?"""
        return not self.count and not self._delivering

    async def idle(self) -> None:
        """Wait for `is_idle`."""
        while not self.is_idle:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def _perhaps_idle(self) -> None:
        if self._idle is not None and self.is_idle:
            self._idle.set()


class OpenCalls(OpenCount):
    """One for each replica."""

    def __init__(self, agents: AgentLinks, telemetry: Telemetry, memory: MemoryBudget, records: Records) -> None:
        super().__init__()
        self._records = records
        self._agents = agents
        self._telemetry = telemetry
        self._memory = memory
        self._clock = asyncio.get_running_loop().time
        self._arrivals = itertools.count(1)
        self.deadlines = Deadlines(asyncio.get_running_loop(), self._due)

    def open(
        self,
        request: Request,
        frame: link_pb2.Frame,
        message: link_pb2.Call,
        reply: Reply,
        sink: Sink | None = None,
        source: Source | None = None,
        shares_memory: bool = False,
    ) -> Call:
        """The only place that makes a Call: for `flow.intake`, and for the run of those that share a key. `message`: the one in `frame`."""
        call = Call(request, request.tool, frame, message, reply, next(self._arrivals), sink, source, shares_memory)
        self.unanswered[call] = None
        return call

    # ---- the caller's end

    def fail(self, call: Call, error: SnakepitError) -> None:
        """Answer with an error, and give up the call's place."""
        if call.answered:
            return
        if call.reruns and error.started is Started.NO:
            error.started = Started.MAYBE
        if not call.may_have_run:
            self._telemetry.refusals.add(call.pool.name if call.pool is not None else "", error.reason)
        self.answer(call, result_frame(call, error))

    def cancel(self, call: Call, error: SnakepitError | None = None) -> None:
        """The caller has gone, or its deadline has passed (`error`). The slot is free when the tool has stopped."""
        if call.answered:
            return
        if call.worker is not None and (call.state is SENT or call.state is LEFT):
            reason = "CANCELLED" if error is None else error.reason
            self._agents.tell(call.worker.capsule, link_pb2.Frame(cancel=link_pb2.Cancel(id=call.message.id, reason=reason)))
        started = Started.MAYBE if call.may_have_run else Started.NO
        self.fail(call, error or Cancelled("the caller cancelled the call", started=started))

    def answer(self, call: Call, frame: link_pb2.Frame) -> None:
        """Answer the caller: once. The call ends with it, unless an agent has it, or is about to."""
        if call.answered:
            return
        call.answered = True
        now = self._clock()
        del self.unanswered[call]
        if self._idle is not None:
            self._perhaps_idle()
        self.deadlines.discard(call)
        if call.place is not None:
            self._leave_place(call, now)
        if call.nest is not None:
            call.nest.end()
        result = frame.result
        if not result.run_seconds:
            result.run_seconds = call.ran_for(result, now)
        if not call.request.leads:
            self._record(call, result, now)
        result.id = call.request.id
        result.call_id = call.request.call_id
        call.reply(call, frame)
        state = call.state
        if state is not SENT and state is not RESERVED:
            self.end(call, now, freed=state is LEFT)

    # ---- the worker's end

    def left(self, call: Call, now: float) -> None:
        """The call has left its worker for good: answered, or with what it gave still on its way."""
        if call.answered:
            self.end(call, now)
        else:
            call.move("leave")
            for stage in call.passed():
                stage.freed(call, now)

    @staticmethod
    def end(call: Call, now: float, *, freed: bool = False) -> None:
        """The call, which is answered, is on no worker: what its stages have to do is done. `freed`: that it has left one, they know."""
        call.move("end")
        if call.stages is not None:
            for stage in call.passed() if not freed else ():
                stage.freed(call, now)
            for stage in call.passed():
                stage.ended(call, now)
            call.stages = None  # Who runs under a key is known to a stage of its own: a circle, with all that the call has.

    # ---- the queue's end

    def wait(self, pool: Pool, call: Call, now: float, seconds: float) -> bool:
        """Count the call as waiting from now on, `seconds` at most; False when it was refused: the queue is full, or the pool deleted."""
        if pool.is_deleted:
            self.fail(call, pool_deleted(pool.name))
            return False
        place = place_of(call)
        if place.counted:
            if call.state is not QUEUED:
                call.move("wait")
            if seconds > place.seconds:
                self._allow(call, place, seconds)
            return True
        came_back = place.requeued
        if not came_back and not pool.queue.has_place(call.request.caller):
            self.fail(call, saturated(pool, call))
            return False
        if not self._memory.take(call, anyway=came_back):
            self.fail(call, self._memory.full(call))
            return False
        call.stand_alone()
        call.move("wait")
        pool.queue.enter(call, now)
        self._allow(call, place, seconds if seconds > place.seconds else place.seconds)
        return True

    def _allow(self, call: Call, place: Place, seconds: float) -> None:
        """The call may wait in the queue for so long, in all."""
        place.seconds = seconds
        until = place.since + seconds - place.waited
        self.deadlines.set(call, until if until < call.deadline else call.deadline)

    def join(self, pool: Pool, call: Call, until: float) -> bool:
        """The call waits for the outcome of another one, `until` then. It needs no slot, but counts in the queue's bound, and is refused
        (False) where that is reached."""
        if pool.queue.is_full:
            self.fail(call, saturated(pool, call))
            return False
        if not self._memory.take(call):
            self.fail(call, self._memory.full(call))
            return False
        call.stand_alone()
        call.move("join")
        pool.queue.joined += 1
        self.deadlines.set(call, until)
        return True

    def _leave_place(self, call: Call, now: float) -> None:
        if call.is_waiting:
            self.leave_queue(call, now)
        else:
            self._memory.give_back(call)

    def leave_queue(self, call: Call, now: float) -> None:
        """Of one that is counted there."""
        place, pool = call.place, call.pool
        if place is None or pool is None:
            return
        seconds = pool.queue.leave(call, now)
        if place.bytes:
            self._memory.give_back(call)
        self._telemetry.waits.observe(seconds, pool.name, PRIORITIES[call.request.rank])

    def give_up_hopeless(self, pool: Pool, now: float) -> None:
        """Where no worker was ever ready and each says why it can't be, those who wait are told instead of waiting on."""
        if pool.queue.depth and pool.is_hopeless and not isinstance(refusal := no_worker(pool, now), Wait):
            for call in pool.queue.everybody():
                self.fail(call, refusal)

    def _due(self, call: Call, now: float) -> None:
        pool = call.pool
        if call.answered:
            return
        if now >= call.deadline or pool is None:
            self.cancel(call, call.expired(now))
        elif (seconds := patience(pool, now)) > place_of(call).seconds:
            self._allow(call, place_of(call), seconds)
        else:
            never = not pool.was_ready and no_worker(pool, now)
            self.fail(call, never if isinstance(never, SnakepitError) else waited_too_long(call, now))

    # ---- the account

    def _record(self, call: Call, result: link_pb2.Result, now: float) -> None:
        """Labels come from what is known here, never from what a caller made up."""
        outcome, seconds = outcome_of(result), now - call.request.came_at
        name, tool, pool, place, span = "", "", call.pool, call.place, call.span
        if pool is not None:
            name, tool = pool.name, call.tool if call.tool in pool.tools else ""
            if (records := pool.records) is None:
                records = pool.records = self._records.of_pool()
            if records is not None:
                records.ended(call, result, outcome, now)
            if pool.objectives is not None:
                started = result.error.started if outcome != "OK" else 0
                pool.objectives.count(outcome, started, seconds, now, is_stream=call.request.is_stream)
        waited = 0.0 if place is None else place.before + place.waited
        # One that was never sent is given the outcome of another caller's, of its idempotency key.
        ran = result.run_seconds if call.worker is not None or call.attempts is not None else 0.0
        self._telemetry.answered(name, tool, outcome, seconds, waited, ran, "" if span is None else span.traceparent)
        if span is not None:
            spans.end(call, span, result, outcome, now)

    def stop(self) -> None:
        self.deadlines.stop()
