"""Calls that running tools make: forwarded to the replica that sent the tool's own call, which knows whom they are for.

Who may call what, and for how long, is the replica's to decide. What comes back goes to the worker that asked; a broken link, or a
replica that says nothing, ends the wait here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snakepit._ipc.frames import CallFailure, ToolAnswer, ToolChunk
from snakepit._ipc.worker import ToolCall, ToolDropped, ToolTaken, ToWorker
from snakepit._names import new_id
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.calls.spans import of_one_trace
from snakepit_agent.link.translate import (
    attachments,
    failure,
    failure_from_wire,
    fill_payload,
    payload_bytes,
    payload_from_wire,
    tool_failure_from_wire,
)
from snakepit_agent.model.call import HeldCall
from snakepit_agent.workers.channel import WorkerLies

LATE_SECONDS = 1.0
"""So long after its deadline a nested call is taken to have been lost by its replica."""

MOST_NAMES = 1024
"""Characters of all of a call's names together, which are far shorter."""

MOST_SETTING = "SNAKEPIT_MAX_NESTED_CALLS"

Send = Callable[[str, link_pb2.Frame], bool]
Tell = Callable[[str, ToWorker], None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    replica: str
    incarnation: str
    operation_id: int
    until: float


class NestedCalls:
    """`send` gives a frame to a replica, `tell` one to a worker's incarnation; `limit` is a replica's maxPayloadBytes.

    At most `most` are open.
    """

    def __init__(self, send: Send, tell: Tell, limit: Callable[[str], int], most: int) -> None:
        self._send = send
        self._tell = tell
        self._limit = limit
        self._most = most
        self.waiting: dict[int, _Waiting] = {}
        self.numbers: dict[tuple[str, int], int] = {}
        self._last_id = 0

    # ---- from the workers

    def asked(self, held: HeldCall | None, incarnation: str, asked: ToolCall, now: float) -> None:
        """A running call calls a tool; `held` None: the call has ended."""
        refusal = self._refusal(held, asked)
        if refusal is not None or held is None:
            self._tell(incarnation, ToolAnswer(asked.operation_id, failure=refusal))
            return
        if (incarnation, asked.operation_id) in self.numbers:
            raise WorkerLies(f"it asked for a second tool call as operation {asked.operation_id}, which waits for its answer")
        self._last_id = number = self._last_id + 1
        until = min(asked.deadline or held.due, held.due)
        self.waiting[number] = _Waiting(held.replica, incarnation, asked.operation_id, until + LATE_SECONDS)
        self.numbers[incarnation, asked.operation_id] = number
        if not self._send(held.replica, _frame(number, held, asked, now)):
            self._fail(number, "the link to the control plane is broken", Started.NO)

    def taken(self, incarnation: str, frame: ToolTaken) -> None:
        """The tool has taken chunks: its replica may send as many more."""
        number = self.numbers.get((incarnation, frame.operation_id))
        if number is not None:
            self._send(self.waiting[number].replica, link_pb2.Frame(flow=link_pb2.Flow(id=number, taken=frame.chunks)))

    def dropped(self, incarnation: str, frame: ToolDropped) -> None:
        """The tool waits for this answer no more: the call is cancelled."""
        number = self.numbers.get((incarnation, frame.operation_id))
        if number is not None:
            replica = self.waiting[number].replica
            self._forget(number)
            self._send(replica, link_pb2.Frame(cancel=link_pb2.Cancel(id=number, reason="CANCELLED")))

    def worker_died(self, incarnation: str) -> None:
        """Its replica gives its nested calls up with the calls that made them."""
        for number in [number for number, waiting in self.waiting.items() if waiting.incarnation == incarnation]:
            self._forget(number)

    def _refusal(self, held: HeldCall | None, asked: ToolCall) -> CallFailure | None:
        if held is None or held.stopping:
            return failure("CANCELLED", "the call that asked has ended", Started.NO)
        if len(self.waiting) >= self._most:
            message = f"{self._most} tool calls of this capsule ({MOST_SETTING}) wait already: wait for their answers"
            return failure("POOL_SATURATED", message, Started.NO, {"limit": MOST_SETTING, "calls": str(self._most)})
        names = len(asked.name) + len(asked.pool) + len(asked.traceparent)
        if names > MOST_NAMES or attachments(asked.arguments) > MOST_ATTACHMENTS:
            message = f"the names of a call have {MOST_NAMES} characters at most, and its arguments {MOST_ATTACHMENTS} attachments"
            return failure("INVALID_ARGUMENTS", message, Started.NO)
        size, limit = payload_bytes(asked.arguments), self._limit(held.replica)
        if size > limit:
            message = f"the arguments have {size} bytes, over the limit of {limit} (maxPayloadBytes)"
            return failure("PAYLOAD_TOO_LARGE", message, Started.NO, {"limit": "maxPayloadBytes", "bytes": str(limit)})
        return None

    # ---- from the replicas

    def on_result(self, replica: str, result: link_pb2.Result) -> None:
        """The end of a nested call; one that nobody waits for is passed over."""
        waiting = self._of(replica, result.id)
        if waiting is None:
            return
        self._forget(result.id)
        answer = ToolAnswer(waiting.operation_id)
        kind = result.WhichOneof("outcome")
        if kind == "payload":
            answer.payload = payload_from_wire(result.payload)
        elif kind == "tool_error":
            answer.tool_error = tool_failure_from_wire(result.tool_error)
        elif kind == "error":
            answer.failure = failure_from_wire(result.error)
        self._tell(waiting.incarnation, answer)

    def on_flow(self, replica: str, flow: link_pb2.Flow) -> None:
        """A piece of a nested call's stream has come."""
        waiting = self._of(replica, flow.id)
        if waiting is not None and flow.HasField("chunk"):
            self._tell(waiting.incarnation, ToolChunk(waiting.operation_id, payload_from_wire(flow.chunk)))

    def replica_unlinked(self, replica: str) -> None:
        """Its answers won't come: the tools may have run."""
        for number in [number for number, waiting in self.waiting.items() if waiting.replica == replica]:
            self._fail(number, "the link to the control plane broke before it answered", Started.MAYBE)

    def tick(self, now: float) -> None:
        """Calls whose replica is silent after their deadline fail."""
        for number in [number for number, waiting in self.waiting.items() if waiting.until <= now]:
            self._fail(number, "the control plane did not say how the call met its deadline", Started.MAYBE)

    def _of(self, replica: str, number: int) -> _Waiting | None:
        waiting = self.waiting.get(number)
        return waiting if waiting is not None and waiting.replica == replica else None

    def _fail(self, number: int, why: str, started: Started) -> None:
        waiting = self.waiting[number]
        self._forget(number)
        self._tell(waiting.incarnation, ToolAnswer(waiting.operation_id, failure=failure("REPLICA_LOST", why, started)))

    def _forget(self, number: int) -> None:
        waiting = self.waiting.pop(number)
        del self.numbers[waiting.incarnation, waiting.operation_id]


def _frame(number: int, held: HeldCall, asked: ToolCall, now: float) -> link_pb2.Frame:
    frame = link_pb2.Frame()
    nested = frame.nested_call
    nested.parent = held.remote
    call = nested.call
    call.id, call.call_id, call.pool, call.tool = number, new_id(), asked.pool, asked.name
    call.stream, call.traceparent = asked.stream, asked.traceparent if of_one_trace(asked.traceparent, held) else held.traceparent
    if asked.deadline:
        call.timeout_seconds = max(0.001, asked.deadline - now)
    fill_payload(call.arguments, asked.arguments)
    return frame
