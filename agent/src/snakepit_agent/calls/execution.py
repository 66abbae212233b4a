"""A call at its worker: admitted or rejected, into an inbox, and ended exactly once. The hot path has no task and no await.

Which call may go where is decided by `slots`; what happens to processes by `lifecycle`; whose turn it is, before a call comes here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from snakepit._ipc.frames import CallFailure
from snakepit._ipc.worker import CallFrame, Done, Flush
from snakepit._telemetry import tracing
from snakepit._telemetry.traceparent import NOT_SAMPLED
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.calls import results, spans
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.arguments import Arguments
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.leasing import Leasing
from snakepit_agent.link.bulk import Route
from snakepit_agent.link.translate import failure, inbox_frame
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.supervisor import Supervisor

log = logging.getLogger(__name__)

_LONGEST = 1e9

FindRoute = Callable[[HeldCall], Route | None]


class Execution:
    """`route` finds where large arguments come from. `work_came` is called when there is a call where there may have been none."""

    def __init__(
        self,
        ledger: Ledger,
        supervisor: Supervisor,
        answers: Answers,
        leasing: Leasing,
        budget: MemoryBudget,
        route: FindRoute,
        work_came: Callable[[], None],
    ) -> None:
        self.arguments = Arguments(budget, self._deliver_large, self._arguments_failed)
        self._ledger = ledger
        self._supervisor = supervisor
        self._channels = supervisor.processes.channels
        self._answers = answers
        self._leasing = leasing
        self._is_exclusive = leasing.is_exclusive
        self._seats = supervisor.lifecycle.seats
        self._route = route
        self._work_came = work_came

    # ---- down

    def admit(self, held: HeldCall, call: link_pb2.Call, *, in_turn: bool = False) -> bool:
        """Give the call a slot, or reject it; `start` is next. `in_turn`: it waited for its turn, and may be one too many."""
        refusal = self._ledger.refusal(held.incarnation, held.tool, strict=held.strict, ahead=call.ahead)
        held.large = call.HasField("pieces")
        if not refusal and self._is_exclusive and not self._leasing.leases.admits(held):
            refusal = "NO_SLOT"
        if held.large and not refusal and not self._ledger.has_slot(held.incarnation):
            refusal = "NO_SLOT"
        if refusal and not (in_turn and refusal == "NO_SLOT"):
            self._answers.reject(held, refusal)
            return False
        if (given := held.traceparent) and given != NOT_SAMPLED and tracing.follows(given):
            self._trace(held, call)
        now = time.monotonic()
        self._ledger.admit(held, now)
        if self._is_exclusive:
            self._leasing.take(held, now, within=call.turn == link_pb2.TURN_WITHIN_PARENT)
        return True

    def _trace(self, held: HeldCall, call: link_pb2.Call) -> None:
        if (seat := self._seats.of(held.incarnation)) is not None:
            spans.begin(held, call, self._supervisor.processes.worker_id(held.incarnation), seat.pid)

    def start(self, held: HeldCall, call: link_pb2.Call) -> None:
        """Hand the call to its worker, large arguments first."""
        frame = inbox_frame(held, call)
        if held.large:
            held.then(self._forget_arguments)
            self.arguments.fetch(held, frame, self._route(held))
        else:
            self._channels[held.incarnation].deliver(frame)
        self._work_came()

    def take_back(self, held: HeldCall) -> bool:
        """True: its worker has not read it, and won't."""
        return (held.large and self.arguments.drop(held.id)) or bool(self._channels[held.incarnation].recall({held.id}))

    def recall(self, found: list[HeldCall]) -> None:
        """Give those back that their worker, which is the same, has not read."""
        channel = self._channels[found[0].incarnation]
        channel.control(Flush())
        fetching = [held.id for held in found if held.large and self.arguments.drop(held.id)]
        self.give_back([*fetching, *channel.recall({held.id for held in found})], "RECALLED")

    def recall_waiting(self, now: float) -> None:
        """What waits behind a call that turned out slow goes where it need not wait."""
        for incarnation in self._ledger.crowded(now):
            worker, channel = self._ledger.workers[incarnation], self._channels[incarnation]
            channel.control(Flush())
            given = len(worker.held) - self.arguments.count_of(incarnation)
            self.give_back(channel.recall_behind(given, worker.slots), "RECALLED")
        for incarnation in self._ledger.stuck(now):
            unread = self._channels[incarnation].recall()
            self.give_back(unread, "RECALLED")
            if unread and not self._ledger.workers[incarnation].held:
                self._supervisor.monitor.reads_nothing(incarnation)

    def drop_unread(self, replica: str) -> None:
        """What that replica sent and no worker has begun: it will be sent again, here or elsewhere."""
        for call in self._ledger.of_replica(replica):
            if self.take_back(call):
                self.release(call)

    # ---- large arguments

    def _deliver_large(self, held: HeldCall, frame: CallFrame, descriptor: int) -> None:
        self._channels[held.incarnation].deliver_large(frame, descriptor)

    def _arguments_failed(self, held: HeldCall, problem: CallFailure | None) -> None:
        """The call has not started: with a `problem` it ends, else its replica sends it again."""
        if problem is None:
            self.give_back([held.id], "NO_ARGUMENTS")
        else:
            self.never_started(held, problem)

    def _forget_arguments(self, held: HeldCall) -> None:
        self.arguments.ended(held.id)

    # ---- up

    def finish(self, held: HeldCall, done: Done) -> None:
        """The call's tool has ended: its slot is free, and its caller hears."""
        run_seconds = done.run_seconds if 0.0 <= done.run_seconds < _LONGEST else 0.0
        self._ledger.finish(held.id, run_seconds, time.monotonic())
        self._seats.ended_a_call(held.incarnation)
        if self._is_exclusive:
            self._leasing.ended_a_call(held.incarnation)
        outcome = self._answers.checked(held, done.payload or done.tool_error or done.failure, done.sections)
        if done.sections:
            self._channels[held.incarnation].ended(held.id)
        self._answers.end(held, outcome, run_seconds, done.started_ns)
        if held.at_end:
            held.ended()

    def worker_died(self, incarnation: str, exit_: Exit) -> None:
        """Its death is proven: what it had not begun goes back, what is left is lost."""
        channel = self._channels[incarnation]
        self._ledger.close(incarnation, "WORKER_GONE")
        channel.drain()
        self.give_back([*channel.recall(), *self.arguments.drop_of(incarnation)], "WORKER_GONE")
        worker = self._supervisor.processes.worker_id(incarnation)
        for held in self._ledger.remove(incarnation):
            failed = results.lost(held, worker, exit_)
            of = {"worker": worker, "call": held.call_id, "session": held.session_id, "tool": held.tool}
            log.warning("%s: %s", failed.reason, failed.message, extra={**of, "traceparent": held.traceparent})
            self._answers.end(held, failed)
            held.ended()

    def release(self, held: HeldCall) -> None:
        """It never ran, and is not here any more."""
        if self._ledger.release(held.id) is None:
            return
        self._leasing.give_back(held)
        held.ended()

    def give_back(self, ids: Iterable[int], reason: str) -> None:
        """They never ran: their replica sends them again."""
        found = [held for id_ in ids if (held := self._ledger.calls.get(id_)) is not None]
        for held in found:
            self.release(held)
        for held in found:
            if not held.answered:
                self._answers.reject(held, reason)
                self._ledger.gave_back(held.incarnation, held.replica)

    def never_started(self, held: HeldCall, outcome: CallFailure) -> None:
        """End the call, which did not run, with that outcome."""
        if held.id in self._ledger.calls:
            self.release(held)
            self._answers.end(held, outcome)

    def unwritten(self, id_: int, why: str) -> None:
        """Its worker can't be given the call, and is not to blame for it."""
        if (held := self._ledger.calls.get(id_)) is not None:
            self.never_started(held, failure("INTERNAL", why, Started.NO))
