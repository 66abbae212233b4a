"""Sessions as clients ask for them, and as clients get them."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from snakepit._names import check_session, new_id
from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments
from snakepit.v1 import session_pb2
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Move, SessionRecord

MOST_METADATA_BYTES = 64 * 1024

DEFAULT_PAGE = 100
MAX_PAGE = 1000
PAGE_BYTES = 1024 * 1024
"""A page ends early rather than being more than any client takes."""


def to_record(request: session_pb2.CreateSessionRequest, caller: Caller, pool: Pool) -> SessionRecord:
    """The session that is asked for, as it is when it is new. Raises InvalidArguments."""
    return SessionRecord(
        pool=pool.name,
        id=check_session(request.session_id) if request.session_id else new_id(),
        uid=new_id(),
        created=0.0,
        last_used=0.0,
        ttl_seconds=request.ttl_seconds or pool.spec.session.ttl_seconds,
        epoch=1,
        owner=caller.subject,
        group=request.group,
        metadata=dict(request.metadata),
    )


def check_request(request: session_pb2.CreateSessionRequest, caller: Caller, most_ttl: float) -> None:
    """Raises InvalidArguments."""
    if request.group and request.group not in caller.groups:
        known = ", ".join(map(quoted, caller.groups)) or "none"
        raise InvalidArguments(f"group {quoted(request.group)} is none of yours: a session may be that of {known}")
    if not 0 <= request.ttl_seconds <= most_ttl:
        most = f"the pool's session.ttlSeconds, {most_ttl:g}, is the most, and what you get without it"
        raise InvalidArguments(f"ttl_seconds {request.ttl_seconds:g} can't be: {most}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in request.metadata.items())
    if size > MOST_METADATA_BYTES:
        raise InvalidArguments(f"metadata has {size} bytes, {MOST_METADATA_BYTES} is the most: keep large values in the session's state")


def to_message(record: SessionRecord) -> session_pb2.Session:
    """The record as clients get it."""
    return session_pb2.Session(
        id=record.id,
        pool=record.pool,
        uid=record.uid,
        metadata=record.metadata,
        create_time=_time(record.created),
        last_use_time=_time(record.last_used),
        expire_time=_time(record.expires),
        worker=record.worker,
        incarnation=record.incarnation,
        epoch=record.epoch,
        ttl_seconds=record.ttl_seconds,
        owner=record.owner,
        group=record.group,
        moves=[_move(each) for each in record.moves],
    )


def _move(move: Move) -> session_pb2.SessionMove:
    return session_pb2.SessionMove(epoch=move.epoch, time=_time(move.at), reason=move.why, worker=move.worker)


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp
