"""The door for calls: what the replicas say of them, and what the workers do. Each goes one way down.

`calls` -> `sessions` (whose turn it is) -> `stopping` (what should end) -> `execution` (slots and inboxes) -> `answers` (what its
replica is told).
"""

from __future__ import annotations

import time

from snakepit._ipc.frames import Payload
from snakepit._ipc.worker import MOST_PROGRESS, Begin, ChunkFrame, Done, ProgressFrame
from snakepit._values.strings import clipped
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.calls import results
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.execution import Execution
from snakepit_agent.calls.sessions import Sessions
from snakepit_agent.calls.stopping import Stopping
from snakepit_agent.link.translate import LargePayload
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.channel import WorkerLies

_STRICT = (common_pb2.AFFINITY_STRICT_QUEUE, common_pb2.AFFINITY_STRICT_FAIL_FAST)


class Calls:
    """`strict`: the pool keeps sessions at their workers, where a call doesn't say otherwise."""

    def __init__(
        self, ledger: Ledger, sessions: Sessions, stopping: Stopping, execution: Execution, answers: Answers, *, strict: bool
    ) -> None:
        self._ledger = ledger
        self._sessions = sessions
        self._stopping = stopping
        self._execution = execution
        self._answers = answers
        self.strict = strict

    # ---- from the replicas

    def on_call(self, replica: str, call: link_pb2.Call) -> None:
        """A replica sends a call to one of the workers."""
        now = time.monotonic()
        held = HeldCall(self._ledger.next_id(), call.id, replica, call.incarnation, call.call_id, call.tool, call.stream)
        if (timeout := call.timeout_seconds) > 0:
            held.due = now + timeout
        held.traceparent = call.traceparent
        if session_id := call.session_id:
            held.session_id, held.session_uid, held.session_epoch = session_id, call.session_uid, call.session_epoch
            held.strict = call.affinity in _STRICT if call.affinity else self.strict
            self._sessions.take(held, call, now)
        elif self._execution.admit(held, call):
            self._execution.start(held, call)

    def on_cancel(self, replica: str, cancel: link_pb2.Cancel) -> None:
        """Nobody waits for the call any more."""
        held = self._ledger.find(replica, cancel.id)
        if held is None:
            self._sessions.cancel(replica, cancel)
        else:
            self._stopping.stop_once(held, cancel.reason or "CANCELLED")

    def on_recall(self, replica: str, recall: link_pb2.Recall) -> None:
        """The replica has a better place for calls that wait here."""
        ids = recall.id, *recall.others
        found = [held for id_ in ids if (held := self._ledger.find(replica, id_)) is not None]
        self._sessions.recall(replica, ids)
        if found:
            self._execution.recall(found)

    def replica_unlinked(self, replica: str) -> None:
        """What that replica sent and no worker has begun is dropped: it will be sent again, here or elsewhere."""
        self._sessions.replica_unlinked(replica)
        self._execution.drop_unread(replica)

    def replica_forgotten(self, replica: str) -> None:
        """Nobody waits for these calls any more."""
        for held in self._ledger.of_replica(replica):
            self._stopping.stop_once(held, "CANCELLED")

    # ---- from the workers

    def of(self, incarnation: str, id_: int) -> HeldCall | None:
        """The call of which that worker speaks; None: it is over. Raises WorkerLies: ids are counted, so another's can be guessed."""
        held = self._ledger.calls.get(id_)
        if held is not None and held.incarnation != incarnation:
            raise WorkerLies(f"it spoke of call {id_}, which another worker runs")
        return held

    def on_done(self, incarnation: str, done: Done) -> None:
        """The tool of a call has ended."""
        if (held := self.of(incarnation, done.id)) is not None:
            self._execution.finish(held, done)

    def on_chunk(self, incarnation: str, chunk: ChunkFrame) -> None:
        """The tool of a call has yielded."""
        held = self.of(incarnation, chunk.id)
        if held is None:
            return
        outcome = self._answers.checked(held, chunk.payload, chunk.sections)
        if held.answered:
            results.drop(outcome)
        elif isinstance(outcome, Payload | LargePayload):
            self._answers.chunk(held, outcome)
        else:
            self._stopping.stop(held, "CANCELLED", outcome)

    def on_begin(self, incarnation: str, frame: Begin) -> None:
        """The tool of a call is about to run."""
        if (held := self.of(incarnation, frame.id)) is not None:
            held.thread = frame.thread
            if held.span is not None:
                held.span.given_ns = time.time_ns()

    def on_progress(self, incarnation: str, frame: ProgressFrame) -> None:
        """The tool of a call says how far it is."""
        if (held := self.of(incarnation, frame.id)) is not None:
            self._answers.progress(held, frame.fraction, clipped(frame.message, MOST_PROGRESS))

    # ---- time

    def tick(self, now: float) -> None:
        """Whatever time alone brings about."""
        self._sessions.tick(now)
        self._stopping.tick(now)
        self._execution.recall_waiting(now)
