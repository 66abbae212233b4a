"""What an idempotency key means for a call: which calls are the same, and which outcomes are kept for the next one. Pure."""

from __future__ import annotations

from snakepit._values import digests
from snakepit._wire.status import to_frame
from snakepit.errors import InvalidArguments, PayloadTooLarge, SnakepitError, Started, WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.quotas import Limits

MOST_KEY_BYTES = 256

_GIVEN_UP = ("DEADLINE", "CANCELLED")


def check_key(call: link_pb2.Call) -> SnakepitError | None:
    """What is wrong with the key of a call that has one."""
    size = len(call.idempotency_key.encode())
    if not call.idempotency_key.isprintable():
        return InvalidArguments("idempotency_key has characters that can't be printed: use a UUID, or a hash")
    if call.stream:
        return InvalidArguments("idempotency_key: a stream is not kept, so it can't be repeated under a key: leave the key empty")
    if size > MOST_KEY_BYTES:
        return InvalidArguments(f"idempotency_key has {size} bytes, {MOST_KEY_BYTES} are allowed: use a UUID, or a hash")
    if call.HasField("pieces") and not call.arguments_digest:
        return InvalidArguments("idempotency_key: large arguments need a digest, which this client does not send: upgrade it")
    return None


def own_key(key: str, subject: str) -> str:
    """The key as the store has it: each subject has keys of its own. Subjects are printable, so that the first line is the key."""
    return f"{key}\n{subject}" if subject else key


def digest(call: link_pb2.Call) -> str:
    """Stands for what the call asks: tool, session and the very bytes of its arguments."""
    arguments = call.arguments_digest if call.HasField("pieces") else digests.of_payload(call.arguments)
    return digests.of_parts([call.tool.encode(), call.session_id.encode(), arguments]).hex()


def other_call(key: str) -> InvalidArguments:
    """`key` as the store has it."""
    said = key.partition("\n")[0]
    rule = "was used for another call (tool, session or arguments differ): give every call a key of its own"
    return InvalidArguments(f"idempotency_key {said!r} {rule}")


def never_started(result: link_pb2.Result) -> bool:
    """Did the call provably not run? Then its key is free for another try."""
    return result.WhichOneof("outcome") == "error" and result.error.started == common_pb2.STARTED_NO


def given_up(result: link_pb2.Result) -> bool:
    """Did it end for a reason of its own caller's, which is none for those who wait with it?"""
    return never_started(result) and result.error.reason in _GIVEN_UP


def kept(result: link_pb2.Result, limits: Limits) -> bytes:
    """What repeats of the call are answered with: the result, or why it can't be given again."""
    most, limit = limits.kept_result
    size, data = _without_ids(result, most)
    if data is not None:
        return data
    error = PayloadTooLarge(
        f"the call has run, but its result of {size} bytes was over the {most} that are kept under an idempotency key ({limit})",
        started=Started.YES,
        details={"limit": limit, "bytes": str(most)},
    )
    return link_pb2.Result(error=to_frame(error), worker=result.worker, incarnation=result.incarnation).SerializeToString()


def _without_ids(result: link_pb2.Result, most: int) -> tuple[int, bytes | None]:
    """Its size without them, and itself, unless it is larger than `most`. They are taken out meanwhile: a copy may have megabytes."""
    ids = result.id, result.call_id
    result.id, result.call_id = 0, ""
    try:
        size = result.ByteSize() + sum(result.pieces.sections)
        return size, result.SerializeToString() if size <= most else None
    finally:
        result.id, result.call_id = ids


def orphaned() -> bytes:
    """The outcome of a call whose replica is gone."""
    message = "the control-plane replica that ran the call under this idempotency key is gone: the tool may have run"
    return link_pb2.Result(error=to_frame(WorkerLost(message, details={"how": "replica lost"}))).SerializeToString()
