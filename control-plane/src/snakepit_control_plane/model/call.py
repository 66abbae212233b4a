"""One call while this replica holds it: what it asks for, where it is, and its end, which happens exactly once. Pure.

A call has two ends. Its caller is answered once (`close`). Its slot is free when the agent says so, which may be later: a caller that
has gone does not stop a tool.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Protocol

from snakepit._ipc.sections import counted
from snakepit._values import payloads
from snakepit._values.strings import quoted
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit._wire.status import to_frame
from snakepit.errors import DeadlineExceeded, InvalidArguments, PayloadTooLarge, SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.limits import Limits

if TYPE_CHECKING:
    from snakepit._telemetry.tracing import Span
    from snakepit._wire.bulk import Piece
    from snakepit_control_plane.flow.sessions import SessionEntry
    from snakepit_control_plane.model.capsule import Worker
    from snakepit_control_plane.model.nesting import Nest
    from snakepit_control_plane.model.pool import Pool
    from snakepit_control_plane.model.queue import Line

_RANKS = {common_pb2.PRIORITY_HIGH: 0, common_pb2.PRIORITY_LOW: 2}

ALWAYS = frozenset({"", payloads.JSON})
"""Content types of arguments that every pool takes."""

_ENCODINGS = {payloads.MSGPACK: "msgpack", payloads.PICKLE: "pickle"}

MOST_BESIDE_BYTES = 64 * 1024
"""Of a call, beside its arguments' bytes: ids, names, metadata."""

ATTACHMENT_BYTES = 128
"""Each attachment's type and shape may have so many more."""

Reply = Callable[["Call", link_pb2.Frame], None]
"""Gets the call's Result, once; before it, where the call asks for it, its Progress."""


class Source(Protocol):
    """Where a call's large arguments are until its agent asks for them. `gone`: they can't be had any more."""

    gone: bool
    held: int
    """Bytes of them that are in this process's memory for as long as the call waits."""

    def attempt(self) -> AsyncIterator[bytes | Piece]:
        """The arguments' pieces, from the first one, as messages or where they are still to be read; an earlier attempt gets no more."""

    def put_down(self) -> None:
        """The Piece that was given last could not be read to its end."""


class Sink(Protocol):
    """Where a streaming call's chunks go."""

    opened: bool

    def fail(self, error: common_pb2.Error) -> None:
        """End the stream with an error; nothing if it has ended."""


class Call:
    """`frame` is the Call frame itself, which is passed on, not copied, and `request` the message in it. Times are of the loop's clock,
    infinity is none.

    `caller`: whom it came from, as far as fairness goes: now a connection.
    """

    __slots__ = (
        "active",
        "affinity",
        "ahead",
        "arrival",
        "bytes",
        "call_id",
        "caller",
        "came_with_others",
        "capped",
        "closed",
        "deadline",
        "expected",
        "fetches",
        "frame",
        "gone",
        "home",
        "id",
        "inner",
        "line",
        "nest",
        "pool",
        "queue_seconds",
        "queue_span",
        "queued_at",
        "rank",
        "reply",
        "request",
        "requeued",
        "reruns",
        "room",
        "sent_at",
        "session",
        "sink",
        "source",
        "span",
        "started_at",
        "takes_pieces",
        "timeout",
        "tool",
        "waited",
        "waiting",
        "worker",
    )

    def __init__(self, frame: link_pb2.Frame, reply: Reply, now: float, sink: Sink | None = None, caller: Hashable = None) -> None:
        # Taken off the frame once: each time would make it anew.
        self.request = call = frame.call
        self.frame = frame
        self.id = call.id
        self.call_id = call.call_id
        self.pool = call.pool
        self.tool = call.tool
        self.affinity = call.affinity
        self.rank = _RANKS.get(call.priority, 1) if call.priority else 1
        self.arrival = 0
        # Of its frame, as it came, and of arguments that are kept for it; how many of them are counted in the router's room.
        self.bytes = 0
        self.room = 0
        # Its frame came in one message with others, all of which stay in memory for as long as it does.
        self.came_with_others = False
        # The pool that took it, which may be deleted while it runs.
        self.home: Pool | None = None
        # It has had its turn already: if it waits again, it goes before those that have not.
        self.requeued = False
        # With whom it takes turns, and who counts in `call.maxConcurrentPerCaller`.
        self.caller = caller
        # It counts there now.
        self.capped = False
        # So often has it been sent again though it may have run.
        self.reruns = 0
        # So many workers have ended that held it and had not begun it.
        self.gone = 0
        # So often have its large arguments not got to an agent.
        self.fetches = 0
        # It runs for calls that share an idempotency key: they are counted, it is not.
        self.inner = False
        self.reply = reply
        self.sink = sink
        # Large arguments are not in the frame.
        self.source: Source | None = None
        # Its caller fetches a large result.
        self.takes_pieces = False
        self.started_at = now
        # As its caller gave it: 0 is none.
        self.timeout = timeout = call.timeout_seconds
        self.deadline = now + timeout if timeout > 0 else math.inf
        # How long it may wait in the queue, in all; how long it has, before it was sent and came back unstarted.
        self.queue_seconds = 0.0
        self.waited = 0.0
        self.queued_at = 0.0
        self.sent_at = 0.0
        self.expected = 0.0
        # As its frame says: it waits for a slot at its worker.
        self.ahead = False
        self.line: Line | None = None
        self.waiting = False
        self.worker: Worker | None = None
        self.session: SessionEntry | None = None
        # It is its session's turn.
        self.active = False
        # Its place among calls that tools make; None for one that is in no other and has called none.
        self.nest: Nest | None = None
        self.closed = False
        self.span: Span | None = None
        self.queue_span: Span | None = None

    def stand_alone(self) -> None:
        """It is going to wait: what came with it need not."""
        if self.came_with_others:
            self.came_with_others = False
            frame = link_pb2.Frame()
            frame.CopyFrom(self.frame)
            self.frame, self.request = frame, frame.call

    @property
    def in_turn(self) -> bool:
        """It runs within the turn of a call of its session that waits for it."""
        return self.nest is not None and bool(self.nest.turn)

    @property
    def is_stream(self) -> bool:
        return self.request.stream

    @property
    def is_held(self) -> bool:
        """Does an agent have it, answered or not?"""
        return self.sent_at > 0 and self.worker is not None and self.worker.capsule.inflight.get(self.request.id) is self

    def expired(self, now: float) -> SnakepitError:
        """The deadline's error; whether the tool started is known here only for a call that was never sent."""
        started = Started.MAYBE if self.sent_at else Started.NO
        return DeadlineExceeded(f"the deadline passed after {now - self.started_at:.3g} s", started=started)


def result_frame(call: Call, error: SnakepitError) -> link_pb2.Frame:
    """The answer to a call that failed before, or without, a tool's result."""
    result = link_pb2.Result(id=call.id, call_id=call.call_id, error=to_frame(error))
    if call.worker is not None:
        result.worker, result.incarnation = call.worker.id, call.worker.incarnation
    return link_pb2.Frame(result=result)


def payload_bytes(value: common_pb2.Payload) -> int:
    size = len(value.data)
    return size + sum(len(a.data) for a in value.attachments) if value.attachments else size


def check(call: Call, pool: Pool, limits: Limits) -> SnakepitError | None:
    """What is wrong with the call's own fields. What is too many is counted before anything is done with each."""
    if not call.timeout >= 0:
        return bad_timeout(call.timeout)
    arguments = call.request.arguments
    attached = len(arguments.attachments) if arguments.attachments else 0
    if attached > MOST_ATTACHMENTS:
        return too_many_attachments(attached)
    size = payload_bytes(arguments)
    if size > limits.max_payload_bytes:
        return too_large(size, limits.max_payload_bytes, "maxPayloadBytes")
    whole = call.request.ByteSize()
    call.bytes = whole if call.source is None else whole + call.source.held
    if (beside := whole - size) > MOST_BESIDE_BYTES + attached * ATTACHMENT_BYTES:
        return too_much_beside(beside)
    if call.source is not None and (size := counted(call.request.pieces.sections)) > limits.max_large_payload_bytes:
        return too_large(size, limits.max_large_payload_bytes, "maxLargePayloadBytes")
    kind = arguments.content_type
    return None if kind in ALWAYS else _refused_encoding(pool, kind)


def bad_timeout(timeout: float) -> InvalidArguments:
    message = f"timeout_seconds {timeout:g} must be a positive number of seconds, or 0 for the tool's or the pool's own"
    return InvalidArguments(message, details={"field": "timeout_seconds"})


def check_sections(sections: Sequence[int]) -> InvalidArguments | None:
    """What is wrong with what a caller says of its pieces."""
    if not sections:
        return InvalidArguments("pieces.sections is empty: give the size of the arguments' data, and of each attachment")
    return too_many_attachments(len(sections) - 1) if len(sections) > MOST_ATTACHMENTS + 1 else None


def too_many_attachments(count: int) -> InvalidArguments:
    return InvalidArguments(f"the arguments have {count} attachments, {MOST_ATTACHMENTS} is the most: join small arrays into larger ones")


def too_much_beside(size: int) -> InvalidArguments:
    message = f"ids, names and metadata of the call have {size} bytes together, {MOST_BESIDE_BYTES} is the most: move them to the arguments"
    return InvalidArguments(message)


def too_large(size: int, limit: int, name: str, what: str = "arguments", started: Started = Started.NO) -> PayloadTooLarge:
    message = f"the {what} have {size} bytes, {name} allows {limit}"
    return PayloadTooLarge(message, started=started, details={"limit": name, "bytes": str(limit)})


def _refused_encoding(pool: Pool, content_type: str) -> InvalidArguments | None:
    allowed = pool.spec.call.payloads
    if _ENCODINGS.get(content_type) in allowed:
        return None
    message = f"pool {pool.name} takes no arguments of content type {quoted(content_type)}: its call.payloads lists {', '.join(allowed)}"
    return InvalidArguments(message, details={"field": "arguments.content_type", "payloads": ",".join(allowed)})
