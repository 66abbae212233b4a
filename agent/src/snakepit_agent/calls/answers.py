"""What a call's replica is told: a Reject while it has not started, or one Result, whole or as the end of a stream."""

from __future__ import annotations

import time
from collections.abc import Callable

from snakepit._ipc.frames import Payload
from snakepit.v1 import link_pb2
from snakepit_agent.calls import results
from snakepit_agent.calls.streams import Streams
from snakepit_agent.link.translate import LargePayload, Outcome, reject_to_wire
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.processes import Processes


class Answers:
    """`flush` tells the replicas at once which slots are taken."""

    def __init__(self, ledger: Ledger, uplink: Uplink, processes: Processes, streams: Streams, flush: Callable[[], None]) -> None:
        self._ledger = ledger
        self._uplink = uplink
        self._processes = processes
        self._streams = streams
        self._flush = flush

    def reject(self, held: HeldCall, reason: str) -> None:
        """Tell the replica that the call has not started, and does not here."""
        self._ledger.refused(held.incarnation, held.replica)
        self._uplink.send(held.replica, reject_to_wire(held.remote, reason))

    def end(self, held: HeldCall, outcome: Outcome, run_seconds: float = 0.0, started_ns: int = 0) -> None:
        """The call is over; whoever has been answered before hears nothing more."""
        if held.span is not None:
            held.span.end(held, outcome, started_ns, run_seconds)
        if held.answered:
            results.drop(outcome)
        else:
            self._tell(held, outcome, run_seconds)

    def answer(self, held: HeldCall, outcome: Outcome) -> None:
        """Its caller waits no longer, though its tool still runs."""
        if not held.answered:
            # Its replica must know that the slot stays taken before the result says that it may be free.
            self._ledger.answer(held)
            self._flush()
            self._tell(held, outcome, 0.0)

    def chunk(self, held: HeldCall, outcome: Payload | LargePayload) -> None:
        """The tool has yielded."""
        self._streams.chunk(held, outcome)

    def progress(self, held: HeldCall, fraction: float, message: str) -> None:
        """The tool says how far it is."""
        if not held.answered:
            self._streams.progress(held, link_pb2.Progress(id=held.remote, fraction=fraction, message=message))

    def checked(self, held: HeldCall, outcome: Outcome, sections: tuple[int, ...]) -> Outcome:
        """What the worker said, or why it can't be passed on. `sections`: where the bytes of a payload lie in a memfd."""
        limit, name = self._uplink.limit(held.replica)
        if sections and isinstance(outcome, Payload):
            large = LargePayload(outcome, sections, self._processes.channels[held.incarnation].take_over(held.id))
            outcome = results.taken_over(large)
        return results.limited(held.tool, outcome, limit, name)

    def _tell(self, held: HeldCall, outcome: Outcome, run_seconds: float) -> None:
        """The one Result of a call, and the end of its stream."""
        final = None if held.stream and isinstance(outcome, Payload) else outcome
        worker = self._processes.worker_id(held.incarnation)
        frame, outcome = results.result(held, worker, final, outcome, run_seconds)
        if held.stream or type(outcome) is LargePayload:
            self._streams.finish(held, outcome, frame)
        else:
            self._uplink.send_result(held.replica, frame, time.monotonic())
