"""State operations of running calls: forwarded to the replica that sent the call, stamped with the session's uid and epoch.

The stamp comes from the call as the replica sent it, never from the worker, so that a fenced worker can't write.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from snakepit._ipc.frames import CallFailure, StateAnswer
from snakepit._ipc.worker import StateOperation
from snakepit._names import STATE_KEY_BYTES
from snakepit._telemetry.span import Span
from snakepit._wire.channels import MAX_PAYLOAD_BYTES
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.calls import spans
from snakepit_agent.link.translate import failure, failure_from_wire, payload_from_wire, payload_to_wire
from snakepit_agent.model.call import HeldCall, Step
from snakepit_agent.model.leases import Lease

ANSWER_SECONDS = 30.0
"""A replica that leaves an operation unanswered for so long is taken to have lost it."""

LATE_SECONDS = 1.0
"""So long after the call's deadline the replica may still say what became of its operation."""

WAITING = 4096
"""Operations that may wait for their answers in one capsule."""

LIMIT = "waitingStateOperations"

Send = Callable[[str, link_pb2.Frame], bool]
Answer = Callable[[str, StateAnswer], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    replica: str
    incarnation: str
    operation_id: int
    until: float
    # Nobody's operation: is the session of this uid still here?
    about: str = ""
    span: Span | None = None


class StateForwarder:
    """`send` gives a frame to a replica, `answer` an answer to a worker's incarnation.

    `left` hears the uids of sessions that are not here any more.
    """

    def __init__(self, pool: str, send: Send, answer: Answer, left: Callable[[str], None] = lambda uid: None) -> None:
        self._pool = pool
        self._send = send
        self._answer = answer
        self._left = left
        self.waiting: dict[int, _Waiting] = {}
        self._last_id = 0

    def request(self, call: HeldCall, operation: StateOperation, now: float) -> None:
        """A running call asks."""
        refusal = self._refusal(call, operation, now)
        if refusal is not None:
            self._answer(call.incarnation, StateAnswer(operation.operation_id, failure=refusal))
            return
        self._last_id += 1
        until = min(now + ANSWER_SECONDS, call.due + LATE_SECONDS)
        frame, span = self._frame(call, operation, now), None
        if operation.traceparent:
            span = spans.state(self._pool, call, operation)
            frame.traceparent = call.traceparent if span is None else span.traceparent
            frame.tracestate = "" if span is None else span.tracestate
        self.waiting[self._last_id] = _Waiting(call.replica, call.incarnation, operation.operation_id, until, span=span)
        if not self._send(call.replica, link_pb2.Frame(state_request=frame)):
            self._fail(self._last_id, "the link to the control plane is broken")

    def ask_after(self, replica: str, owner: Lease, now: float) -> None:
        """Is the session still bound here? Reading a key that is not there tells, and does not keep the session alive."""
        self._last_id += 1
        request = link_pb2.StateRequest(id=self._last_id, pool=self._pool, session_id=owner.session_id, session_uid=owner.uid)
        request.session_epoch, request.timeout_seconds = owner.epoch, ANSWER_SECONDS
        request.get.SetInParent()
        if self._send(replica, link_pb2.Frame(state_request=request)):
            self.waiting[self._last_id] = _Waiting(replica, "", 0, now + ANSWER_SECONDS, owner.uid)

    def reply(self, replica: str, reply: link_pb2.StateReply) -> None:
        """The replica answers; an answer that nobody waits for is passed over."""
        waiting = self.waiting.get(reply.id)
        if waiting is None or waiting.replica != replica:
            return
        del self.waiting[reply.id]
        if waiting.about:
            if reply.error.reason in ("SESSION_NOT_FOUND", "STALE_EPOCH"):
                self._left(waiting.about)
            return
        failed = failure_from_wire(reply.error) if reply.HasField("error") else None
        if waiting.span is not None:
            spans.end_state(waiting.span, failed)
        answer = StateAnswer(
            waiting.operation_id,
            failure=failed,
            found=reply.found,
            value=payload_from_wire(reply.value) if reply.HasField("value") else None,
            version=reply.version,
            written=reply.written,
            keys=list(reply.keys),
        )
        self._answer(waiting.incarnation, answer)

    def replica_unlinked(self, replica: str) -> None:
        """Its answers won't come: a write may have happened."""
        for id_ in [id_ for id_, waiting in self.waiting.items() if waiting.replica == replica]:
            self._fail(id_, "the link to the control plane broke before it answered")

    def worker_died(self, incarnation: str) -> None:
        """Nobody there waits for an answer any more."""
        for id_ in [id_ for id_, waiting in self.waiting.items() if waiting.incarnation == incarnation]:
            if (span := self.waiting.pop(id_).span) is not None:
                span.end("WORKER_LOST", Started.MAYBE)

    def tick(self, now: float) -> None:
        """Operations that were not answered in time fail."""
        for id_ in [id_ for id_, waiting in self.waiting.items() if waiting.until <= now]:
            self._fail(id_, f"the control plane did not answer in time, within {ANSWER_SECONDS:g} s or the call's deadline")

    def _fail(self, id_: int, why: str) -> None:
        waiting = self.waiting.pop(id_)
        if waiting.about:
            return
        lost = failure("REPLICA_LOST", why, Started.MAYBE)
        if waiting.span is not None:
            spans.end_state(waiting.span, lost)
        self._answer(waiting.incarnation, StateAnswer(waiting.operation_id, failure=lost))

    def _refusal(self, call: HeldCall, operation: StateOperation, now: float) -> CallFailure | None:
        if call.stopping == "DEADLINE" or (call.step is Step.DEADLINE and now >= call.due):
            # Its caller has been told that it failed: nothing may change any more.
            return failure("DEADLINE", "the call's deadline has passed: its session's state is not touched any more", Started.NO)
        if not call.session_id:
            return failure(
                "INVALID_ARGUMENTS", "this call has no session, so there is no state: call the tool within a session", Started.NO
            )
        if operation.value is not None and operation.value.attachments:
            return failure(
                "INVALID_ARGUMENTS", f"state value {operation.key[:32]!r} holds bytes or an array: store plain JSON values", Started.NO
            )
        if len(operation.key) > STATE_KEY_BYTES:
            message = (
                f"a state key has {len(operation.key)} characters, and at most {STATE_KEY_BYTES} bytes: a longer one belongs into the value"
            )
            return failure("INVALID_ARGUMENTS", message, Started.NO)
        if operation.value is not None and (size := len(operation.value.data)) > MAX_PAYLOAD_BYTES:
            message = f"the value has {size} bytes, {MAX_PAYLOAD_BYTES} is the most, and session.maxValueBytes may allow less"
            return failure("STATE_QUOTA", message, Started.NO, {"limit": "session.maxValueBytes", "bytes": str(MAX_PAYLOAD_BYTES)})
        if len(self.waiting) >= WAITING:
            message = f"{WAITING} state operations of this capsule ({LIMIT}) wait already: wait for their answers"
            return failure("STATE_QUOTA", message, Started.NO, {"limit": LIMIT, "operations": str(WAITING)})
        return None

    def _frame(self, call: HeldCall, operation: StateOperation, now: float) -> link_pb2.StateRequest:
        request = link_pb2.StateRequest(
            id=self._last_id,
            pool=self._pool,
            session_id=call.session_id,
            session_uid=call.session_uid,
            session_epoch=call.session_epoch,
            timeout_seconds=0.0 if call.due == math.inf else call.due - now,
        )
        match operation.operation:
            case "get":
                request.get.key = operation.key
            case "delete":
                request.delete.key = operation.key
            case "keys":
                request.keys.SetInParent()
            case "set":
                request.set.key = operation.key
                if operation.value is not None:
                    request.set.value.CopyFrom(payload_to_wire(operation.value))
                if operation.expected_version >= 0:
                    request.set.expected_version = operation.expected_version
        return request
