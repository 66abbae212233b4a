"""Who is let in: what may be wrong with a call's own fields, its deadline, and the sentences of the refusals, with their advice. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from snakepit._ipc.sections import counted
from snakepit._names import nearest
from snakepit._values import payloads
from snakepit._values.strings import quoted
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit.errors import (
    CallerLimit,
    InvalidArguments,
    PayloadTooLarge,
    PoolNotFound,
    PoolNotReady,
    PoolSaturated,
    QueueTimeout,
    SnakepitError,
    Started,
)
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import UNKNOWN_SECONDS
from snakepit_control_plane.model.catalogue import RETRY_NOT_KNOWN_SECONDS
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits

ALWAYS = frozenset({"", payloads.JSON})
"""Content types of arguments that every pool takes."""

_ENCODINGS = {payloads.MSGPACK: "msgpack", payloads.PICKLE: "pickle"}

MOST_BESIDE_BYTES = 64 * 1024
"""Of a call, beside its arguments' bytes: ids, names, metadata."""

ATTACHMENT_BYTES = 128
"""Each attachment's type and shape may have so many more."""

SMALL_BYTES = min(MOST_BESIDE_BYTES, 2 * MOST_ATTACHMENTS)
"""A call that is no larger altogether has too much of nothing: an attachment takes two bytes at least. Nothing in it is counted."""


def payload_bytes(value: common_pb2.Payload) -> int:
    size = len(value.data)
    return size + sum(len(a.data) for a in value.attachments) if value.attachments else size


def check(call: Call, pool: Pool, limits: Limits) -> SnakepitError | None:
    """What is wrong with the call's own fields."""
    timeout = call.request.timeout
    if not timeout >= 0:
        return bad_timeout(timeout)
    message, source = call.message, call.source
    call.bytes = size = message.ByteSize()
    small = source is None and size <= SMALL_BYTES and size <= limits.max_payload_bytes
    if not small and (problem := _too_much(call, size, limits)) is not None:
        return problem
    kind = message.arguments.content_type
    return None if kind in ALWAYS else _refused_encoding(pool, kind)


def _too_much(call: Call, whole: int, limits: Limits) -> SnakepitError | None:
    """Of what has `whole` bytes in its frame."""
    message, source = call.message, call.source
    attached = len(message.arguments.attachments)
    if attached > MOST_ATTACHMENTS:  # Before anything is done with each.
        return too_many_attachments(attached)
    size = payload_bytes(message.arguments)
    if size > limits.max_payload_bytes:
        return too_large(size, limits.max_payload_bytes, "maxPayloadBytes")
    if (beside := whole - size) > MOST_BESIDE_BYTES + attached * ATTACHMENT_BYTES:
        return too_much_beside(beside)
    if source is not None:
        call.bytes += source.held
        if (size := counted(message.pieces.sections)) > limits.max_large_payload_bytes:
            return too_large(size, limits.max_large_payload_bytes, "maxLargePayloadBytes")
    return None


def deadline(call: Call, pool: Pool, now: float) -> float:
    """Whoever says it, never later than the pool allows: a timer of some centuries can't be set."""
    limits, timeout = pool.spec.call, call.request.timeout
    if not timeout:
        tool = pool.tools.get(call.tool)
        default = limits.stream_timeout_seconds if call.request.is_stream else limits.timeout_seconds
        timeout = tool.timeout_seconds if tool is not None and tool.timeout_seconds > 0 else default
    until, asked = min(call.deadline, now + limits.max_timeout_seconds), now + timeout
    return asked if asked < until else until


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


# ---- the refusals of the queue


def no_pool(name: str, known: Collection[str]) -> PoolNotFound:
    """Names the nearest ones."""
    names = nearest(name, known)
    hint = f"did you mean {' or '.join(names)}?" if names else f"known: {', '.join(sorted(known)[:10]) or 'none'}"
    return PoolNotFound(f"there is no pool {quoted(name)}: {hint}", details={"nearest": ",".join(names)})


def pool_deleted(name: str) -> PoolNotFound:
    """It was there when the call came."""
    return PoolNotFound(f"pool {name} has been deleted")


def not_known_yet(what: str) -> PoolNotReady:
    """By a replica that has just started: another one may know better, and so may this one soon."""
    message = f"{what} is not known here yet: this replica has just started, and waits for the agents to link"
    return PoolNotReady(message, retry_after=RETRY_NOT_KNOWN_SECONDS)


def saturated(pool: Pool, call: Call) -> PoolSaturated:
    """Advises to come back when what waits now will have been done."""
    slots = pool.slots or 1
    known = [seconds for tool in pool.tools if (seconds := pool.mean_seconds(tool)) < math.inf]
    mean = sum(known) / len(known) if known else UNKNOWN_SECONDS
    advice = min(max(0.1, pool.queue.depth * mean / slots), pool.spec.queue.timeout_seconds)
    queue = pool.queue
    held = "" if queue.is_full else f", {queue.held(call.request.caller)} of them this caller's: the last places are for others"
    message = f"pool {pool.name} is saturated: {queue.depth} calls wait (queue.maxSize {queue.max_size}){held}"
    return PoolSaturated(message, retry_after=advice, details={"limit": "queue.maxSize", "calls": str(pool.queue.max_size)})


def too_many(pool: Pool, call: Call) -> CallerLimit:
    """Advises to come back when a call of that tool will have ended."""
    limit = pool.callers.limit
    message = f"this caller has {limit} calls open in pool {pool.name}, as many as call.maxConcurrentPerCaller allows: wait for one to end"
    details = {"limit": "call.maxConcurrentPerCaller", "calls": str(limit)}
    return CallerLimit(message, retry_after=min(max(0.1, pool.mean_seconds(call.tool)), UNKNOWN_SECONDS), details=details)


def waited_too_long(call: Call, now: float) -> QueueTimeout:
    waited = call.place.seconds_waited(now) if call.place is not None else 0.0
    return QueueTimeout(f"the call waited {waited:.3g} s in the queue of pool {call.pool.name if call.pool else ''}", retry_after=1.0)
