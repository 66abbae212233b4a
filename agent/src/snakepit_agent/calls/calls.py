"""A call's way through the capsule: admitted or rejected, into an inbox, out of an outbox, and closed exactly once.

The hot path has no task and no await. Which call may go where is decided by `slots`; what happens to processes by `lifecycle`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from snakepit._ipc.frames import Begin, CallFailure, CallFrame, CancelCall, ChunkFrame, Done, Flush, Payload, ProgressFrame
from snakepit._telemetry import tracing
from snakepit._values.strings import clipped
from snakepit.errors import Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.calls import results
from snakepit_agent.calls.arguments import Arguments
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.sessions import Sessions
from snakepit_agent.calls.streams import Streams
from snakepit_agent.link.pipes import Line
from snakepit_agent.link.translate import LargePayload, Outcome, failure, inbox_frame, reject_to_wire
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.leases import ExclusiveLeases
from snakepit_agent.model.slots import WORD_SECONDS, HeldCall, Ledger, Step
from snakepit_agent.workers.channel import WorkerChannel, WorkerLies
from snakepit_agent.workers.monitor import Monitor
from snakepit_agent.workers.stacks import where

log = logging.getLogger(__name__)

_LONGEST = 1e9
_MOST_PROGRESS = 8192
"""Bytes of a progress message that are passed on."""

_STRICT = (common_pb2.AFFINITY_STRICT_QUEUE, common_pb2.AFFINITY_STRICT_FAIL_FAST)


class Links(Protocol):
    """What of the uplink calls need."""

    def send(self, id_: str, frame: link_pb2.Frame) -> bool: ...
    def send_result(self, id_: str, frame: link_pb2.Frame, now: float) -> None: ...
    def limit(self, id_: str) -> tuple[int, str]: ...


class Workers(Protocol):
    """What of the workers' owner calls need."""

    channels: dict[str, WorkerChannel]
    monitor: Monitor

    def worker_id(self, incarnation: str) -> str: ...
    def ended_a_call(self, incarnation: str) -> None: ...
    def taken(self, incarnation: str) -> None: ...
    def dump(self, incarnation: str, *, anew: bool = True) -> None: ...
    def kill(self, incarnation: str, reason: str, message: str) -> None: ...
    def work_came(self) -> None: ...


class Calls:
    """`kill_after`: seconds that a tool has to stop after it was told to. `strict`: the pool's own affinity is.

    `touched` is called when a slot was taken or freed; `flush` tells that to the replicas at once.
    """

    def __init__(
        self,
        ledger: Ledger,
        links: Links,
        workers: Workers,
        streams: Streams,
        sessions: Sessions,
        budget: MemoryBudget,
        line: Callable[[HeldCall], Line | None],
        idle_seconds: float,
        kill_after: float,
        leases: ExclusiveLeases,
        strict: bool,
        touched: Callable[[], None],
        flush: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._links = links
        self._workers = workers
        self._streams = streams
        self._sessions = sessions
        self._line = line
        self._idle_seconds = idle_seconds
        self.arguments = Arguments(budget, self._deliver_large, self._arguments_failed)
        self._kill_after = kill_after
        self._leases = leases
        self._strict = strict
        self._touched = touched
        self._flush = flush

    # ---- from the replicas

    def on_call(self, replica: str, call: link_pb2.Call) -> None:
        now = time.monotonic()
        held = HeldCall(self._ledger.next_id(), call.id, replica, call.incarnation, call.call_id, call.tool, call.stream)
        if (timeout := call.timeout_seconds) > 0:
            held.due = now + timeout
        held.traceparent = call.traceparent
        if session_id := call.session_id:
            held.session_id, held.session_uid, held.session_epoch = session_id, call.session_uid, call.session_epoch
            held.strict = call.affinity in _STRICT if call.affinity else self._strict
            if not self._sessions.may_begin(held, call, now):
                return
        self.begin(held, call)

    def begin(self, held: HeldCall, call: link_pb2.Call, *, in_turn: bool = False) -> None:
        """Admit or reject the call; `in_turn`: it waited for its session's turn, and gets in before the worker's slots are counted."""
        refusal = self._ledger.refusal(held.incarnation, held.tool, strict=held.strict, ahead=call.ahead)
        if not refusal and not self._leases.admits(held):
            refusal = "NO_SLOT"
        large = call.HasField("pieces")
        if large and not refusal and not self._ledger.has_slot(held.incarnation):
            refusal = "NO_SLOT"
        if refusal and not (in_turn and refusal == "NO_SLOT"):
            self._reject(held.replica, held.remote, held.incarnation, refusal)
            return
        if held.traceparent and tracing.enabled():
            self._trace(held)
        now = time.monotonic()
        self._ledger.admit(held, now)
        if self._leases.take(held, now, within=call.turn == link_pb2.TURN_WITHIN_PARENT):
            self._workers.taken(held.incarnation)
        if held.session_id:
            self._sessions.turns.begin(held)
        frame = inbox_frame(held, call)
        if large:
            held.large = True
            self.arguments.fetch(held, frame, self._line(held))
        else:
            self._workers.channels[held.incarnation].deliver(frame)
        self._workers.work_came()
        self._touched()

    def slots_changed(self) -> None:
        """What replicas know of the slots is not true any more."""
        self._touched()

    def on_cancel(self, replica: str, cancel: link_pb2.Cancel) -> None:
        held = self._ledger.find(replica, cancel.id)
        if held is not None:
            if not held.stopping:
                self._stop(held, cancel.reason or "CANCELLED")
        else:
            self._sessions.cancel(replica, cancel)

    def on_recall(self, replica: str, recall: link_pb2.Recall) -> None:
        found = [held for id_ in (recall.id, *recall.others) if (held := self._ledger.find(replica, id_)) is not None]
        self._sessions.recall(replica, (recall.id, *recall.others))
        if not found:
            return
        channel = self._workers.channels[found[0].incarnation]
        channel.control(Flush())
        fetching = [held.id for held in found if held.large and self.arguments.drop(held.id)]
        self._give_back([*fetching, *channel.recall_some({held.id for held in found})], "RECALLED")

    def replica_unlinked(self, replica: str) -> None:
        """What that replica sent and no worker has begun is dropped: it will be sent again, here or elsewhere."""
        self._sessions.replica_unlinked(replica)
        for incarnation in self._workers.channels:
            if not any(call.incarnation == incarnation for call in self._ledger.of_replica(replica)):
                continue
            for call in self._ledger.of_replica(replica):
                if call.incarnation == incarnation and self._take_back(call):
                    self._release(call.id)

    def replica_forgotten(self, replica: str) -> None:
        """Nobody waits for these calls any more."""
        for call in self._ledger.of_replica(replica):
            if not call.stopping:
                self._stop(call, "CANCELLED")

    def consumer_went(self, held: HeldCall) -> None:
        """The stream's pipe broke: the tool is to stop, and its slot is free when it has."""
        if held.id in self._ledger.calls and not held.stopping:
            self._stop(held, "CANCELLED")

    def tool_idles(self, held: HeldCall) -> None:
        """The stream's tool says nothing, though everything it said was taken."""
        if held.id in self._ledger.calls and not held.stopping:
            message = f"tool {held.tool} gave no chunk for {self._idle_seconds:g} s (call.streamIdleSeconds)"
            outcome = failure("DEADLINE", message, Started.YES, {"limit": "call.streamIdleSeconds"})
            self._stop(held, "DEADLINE", outcome)

    # ---- large arguments

    def _deliver_large(self, held: HeldCall, frame: CallFrame, descriptor: int) -> None:
        self._workers.channels[held.incarnation].deliver_large(frame, descriptor)

    def _arguments_failed(self, held: HeldCall, problem: CallFailure | None) -> None:
        """The call has not started: with a `problem` it ends, else its replica sends it again."""
        if problem is None:
            self._give_back([held.id], "NO_ARGUMENTS")
        elif self._release(held.id) is not None:
            self._close(held, problem, 0.0)

    def _take_back(self, held: HeldCall) -> bool:
        """True: its worker has not read it, and won't."""
        return (held.large and self.arguments.drop(held.id)) or self._workers.channels[held.incarnation].recall_one(held.id)

    # ---- from the workers

    def of(self, incarnation: str, id_: int) -> HeldCall | None:
        """The call of which that worker speaks; None: it is over. Raises WorkerLies: ids are counted, so another's can be guessed."""
        held = self._ledger.calls.get(id_)
        if held is not None and held.incarnation != incarnation:
            raise WorkerLies(f"it spoke of call {id_}, which another worker runs")
        return held

    def on_done(self, incarnation: str, done: Done) -> None:
        held = self.of(incarnation, done.id)
        if held is None:
            return
        run_seconds = done.run_seconds if 0.0 <= done.run_seconds < _LONGEST else 0.0
        self._ledger.finish(done.id, run_seconds, time.monotonic())
        self._workers.ended_a_call(held.incarnation)
        outcome: Outcome = done.payload or done.tool_error or done.failure
        if done.sections and done.payload is not None:
            outcome = self._taken_over(held, done.payload, done.sections)
            self._workers.channels[held.incarnation].ended(held.id)
        self._close(held, self._limited(held, outcome), run_seconds)
        if held.session_id:
            self._sessions.left(held)
        self._touched()

    def on_chunk(self, incarnation: str, chunk: ChunkFrame) -> None:
        held = self.of(incarnation, chunk.id)
        if held is None:
            return
        outcome: Outcome = chunk.payload
        if chunk.sections:
            outcome = self._taken_over(held, chunk.payload, chunk.sections)
        outcome = self._limited(held, outcome)
        if held.answered:
            results.drop(outcome)
        elif isinstance(outcome, Payload | LargePayload):
            self._streams.chunk(held, outcome)
        else:
            self._stop(held, "CANCELLED", outcome)

    def on_begin(self, incarnation: str, frame: Begin) -> None:
        if (held := self.of(incarnation, frame.id)) is not None:
            held.thread = frame.thread

    def on_progress(self, incarnation: str, frame: ProgressFrame) -> None:
        held = self.of(incarnation, frame.id)
        if held is not None and not held.answered:
            progress = link_pb2.Progress(id=held.remote, fraction=frame.fraction, message=clipped(frame.message, _MOST_PROGRESS))
            self._links.send(held.replica, link_pb2.Frame(progress=progress))

    def worker_died(self, incarnation: str, ending: Exit) -> None:
        """Its death is proven: what it had not begun goes back, what is left is lost."""
        channel = self._workers.channels[incarnation]
        self._ledger.close(incarnation, "WORKER_GONE")
        channel.drain()
        self._give_back([*channel.recall(), *self.arguments.drop_of(incarnation)], "WORKER_GONE")
        worker = self._workers.worker_id(incarnation)
        for held in self._ledger.remove(incarnation):
            self._close(held, results.lost(held, worker, ending), 0.0)
            if held.session_id:
                self._sessions.left(held)
        self._touched()

    def never_given(self, id_: int, why: str) -> None:
        """Its worker can't be given the call, and is not to blame for it."""
        if (held := self._release(id_)) is not None:
            self._close(held, failure("INTERNAL", why, Started.NO), 0.0)

    # ---- time

    def tick(self, now: float) -> None:
        self._sessions.tick(now)
        for held, step in self._ledger.overdue(now):
            if step is Step.DEADLINE:
                self._stop(held, "DEADLINE", answer_at=now + WORD_SECONDS)
            elif step is Step.LOOK:
                self._workers.dump(held.incarnation)
            elif step is Step.ANSWER:
                self._look(held)
                self._answer(held, failure(held.stopping, results.unstopped(held), results.started(held)))
            elif step is Step.DUMP:
                self._workers.dump(held.incarnation, anew=not held.at)
            else:
                self._look(held)
                self._workers.kill(held.incarnation, "ToolDidNotStop", results.unstopped(held))
        for incarnation in self._ledger.crowded(now):
            worker, channel = self._ledger.workers[incarnation], self._workers.channels[incarnation]
            channel.control(Flush())
            given = len(worker.held) - self.arguments.count_of(incarnation)
            self._give_back(channel.recall_behind(given, worker.slots), "RECALLED")
        for incarnation in self._ledger.stuck(now):
            unread = self._workers.channels[incarnation].recall()
            self._give_back(unread, "RECALLED")
            if unread and not self._ledger.workers[incarnation].held:
                self._workers.monitor.reads_nothing(incarnation)

    # ---- the ends of a call

    def _stop(self, held: HeldCall, reason: str, outcome: Outcome = None, answer_at: float = math.inf) -> None:
        """Before it began: it never runs. Else its tool is told to stop, and its slot is free when it has.

        Its caller is told `outcome` now, or at `answer_at` if the worker says nothing before.
        """
        channel = self._workers.channels[held.incarnation]
        if self._take_back(held):
            self._release(held.id)
            self._close(held, failure(reason, results.STOPPED.get(reason, reason), Started.NO), 0.0)
            return
        self._ledger.stop_by(held, reason, time.monotonic() + self._kill_after, answer_at)
        channel.control(CancelCall(held.id, reason))
        if outcome is not None:
            self._answer(held, outcome)

    def _answer(self, held: HeldCall, outcome: Outcome) -> None:
        """Its tool still runs."""
        if not held.answered:
            # Its replica must know that the slot stays taken before the result says that it may be free.
            self._ledger.answer(held)
            self._flush()
            self._tell(held, outcome, 0.0)

    def _look(self, held: HeldCall) -> None:
        """Where the tool was when its worker's stacks were asked for."""
        if (stacks := self._workers.channels[held.incarnation].stacks) is not None:
            held.at = where(stacks.read(), held.thread) or held.at

    def never_began(self, held: HeldCall, reason: str) -> None:
        """A call that waited for its session's turn is over: CANCELLED or DEADLINE."""
        self._close(held, failure(reason, results.STOPPED.get(reason, reason), Started.NO), 0.0)

    def fence(self, held: HeldCall, outcome: CallFailure) -> None:
        """The call's session has moved on: if it runs, it is told to stop and its caller gets `outcome`; else it is given back."""
        if self._take_back(held):
            self._give_back([held.id], "RELEASED")
        elif not held.stopping:
            self._stop(held, "CANCELLED", outcome)

    def _give_back(self, ids: Iterable[int], reason: str) -> None:
        for held in list(map(self._release, ids)):
            if held is not None and not held.answered:
                self._reject(held.replica, held.remote, held.incarnation, reason)
                self._ledger.gave_back(held.incarnation, held.replica)

    def _reject(self, replica: str, remote: int, incarnation: str, reason: str) -> None:
        self._ledger.refused(incarnation, replica)
        self._links.send(replica, reject_to_wire(remote, reason))
        self._touched()

    def _release(self, id_: int) -> HeldCall | None:
        held = self._ledger.release(id_)
        if held is not None and self._leases.give_back(held):
            self._workers.taken(held.incarnation)
        if held is not None and held.large:
            self.arguments.ended(id_)
        if held is not None and held.span is not None:
            held.span.end("RECALLED")
        if held is not None and held.session_id:
            self._sessions.left(held)
        self._touched()
        return held

    def _close(self, held: HeldCall, outcome: Outcome, run_seconds: float) -> None:
        if held.span is not None:
            held.span.end(results.error(outcome))
        if held.large:
            self.arguments.ended(held.id)
        if not held.answered:
            self._tell(held, outcome, run_seconds)
        else:
            results.drop(outcome)

    def _tell(self, held: HeldCall, outcome: Outcome, run_seconds: float) -> None:
        """The one Result of a call, and the end of its stream."""
        final = None if held.stream and isinstance(outcome, Payload) else outcome
        worker = self._workers.worker_id(held.incarnation)
        frame, outcome = results.result(held, worker, final, outcome, run_seconds)
        if held.stream or type(outcome) is LargePayload:
            self._streams.finish(held, outcome, frame)
        else:
            self._links.send_result(held.replica, frame, time.monotonic())

    def _limited(self, held: HeldCall, outcome: Outcome) -> Outcome:
        return results.limited(held.tool, outcome, *self._links.limit(held.replica))

    def _taken_over(self, held: HeldCall, payload: Payload, sections: tuple[int, ...]) -> Outcome:
        large = LargePayload(payload, sections, self._workers.channels[held.incarnation].take_over(held.id))
        return results.taken_over(large)

    def _trace(self, held: HeldCall) -> None:
        held.span = tracing.start_span(f"run {held.tool}", held.traceparent, {"snakepit.tool": held.tool, "snakepit.call_id": held.call_id})
        if held.span is not None:
            held.traceparent = held.span.traceparent
