"""SessionService: sessions and their state, for clients. What the store answers is told to the sessions' stage."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from snakepit._names import check_session, check_state_key, new_id, parse_pool
from snakepit._values.strings import quoted
from snakepit.errors import (
    CallerLimit,
    InvalidArguments,
    PermissionDenied,
    SessionNotFound,
    SessionQuota,
    SnakepitError,
    StaleEpoch,
)
from snakepit.v1 import common_pb2, session_pb2, session_pb2_grpc
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.sessions.releases import rebind
from snakepit_control_plane.flow.sessions.upkeep import SessionCount
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence, Move, SessionRecord
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, DELETE_SESSION, LIST_SESSIONS, READ_SESSION, Right
from snakepit_control_plane.servers import json_form
from snakepit_control_plane.servers.door import Door, find_pool
from snakepit_control_plane.servers.rpc import convert, full_name
from snakepit_control_plane.store.interface import Store, StoredKey, StoredValue, UnreadableRecord
from snakepit_control_plane.store.memory import MAX_SESSIONS, no_session

DEFAULT_PAGE = 100
MAX_PAGE = 1000
PAGE_BYTES = 1024 * 1024
"""A page ends early rather than being more than any client takes."""

MOST_METADATA_BYTES = 64 * 1024

Context = grpc.aio.ServicerContext[Any, Any]


class _Of(Protocol):
    """A request about one session."""

    pool: str
    session_id: str


class SessionServicer(session_pb2_grpc.SessionServiceServicer):
    """`count` hears of pools whose sessions are all in use. A namespace has no more than `most`, or a few that others made just now.

    A session is its maker's: others are told that there is none, unless they have a right on the pool's sessions. What is done is done to
    the one that was looked at: who asks about one that somebody else makes anew in between is told that there is none.
    """

    def __init__(self, flow: Flow, store: Store, count: SessionCount, door: Door, most: int) -> None:
        self._count, self._most = count, most
        self._door = door
        self._flow = flow
        self._store = store

    async def _admit(self, request: _Of, context: Context, right: Right) -> tuple[Pool, Fence | None]:
        """The pool, and the session's uid, for whoever owns the session or has the right on all of the pool's; None: whose it is doesn't
        matter. Raises SessionNotFound for others."""
        caller = await self._door.caller(context)
        pool = self._flow.pools.find(full_name(request.pool))
        if not caller.subject:
            return pool, None
        return pool, Fence((await self._find(caller, right, pool.name, request.session_id)).uid, None)

    async def _find(self, caller: Caller, right: Right, pool: str, session: str) -> SessionRecord:
        """The session, for whoever may see it. Raises SessionNotFound; PermissionDenied for who may do nothing in the pool: there or not,
        nobody else is told; UnreadableRecord for those who could see it, as far as it says whose it is."""
        try:
            record = await self._store.get_session(pool, session)
        except SessionNotFound:
            if caller.subject and not await self._door.access.may(caller, right, pool):
                await self._door.access.check(caller, CALL, pool)
            raise
        except UnreadableRecord as error:
            await self._allow(caller, right, error.record)
            raise
        await self._allow(caller, right, record)
        return record

    async def _find_to_delete(self, caller: Caller, pool: str, session: str) -> str:
        """The uid of what may be deleted; empty: whatever is there. Whose a record is that can't be read nobody knows, so it takes the
        right to delete others'."""
        if not caller.subject:
            return ""
        try:
            return (await self._find(caller, DELETE_SESSION, pool, session)).uid
        except UnreadableRecord as error:
            if not await self._door.access.may(caller, DELETE_SESSION, pool):
                raise
            return error.record.uid

    async def _allow(self, caller: Caller, right: Right, record: SessionRecord) -> None:
        if record.is_of(caller):
            await self._door.access.check(caller, CALL, record.pool)
            return
        try:
            await self._door.access.check(caller, right, record.pool)
        except PermissionDenied:
            await self._door.access.check(caller, CALL, record.pool)
            raise no_session(record.pool, record.id) from None

    async def CreateSession(  # noqa: N802
        self, request: session_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.CreateSessionResponse:
        pool, caller = await find_pool(self._door, self._flow.pools, context, CALL, request.pool)
        limits = pool.spec.session
        _check(request, caller, limits.ttl_seconds)
        wanted = _wanted(request, caller, pool)
        if (full := self._full(pool)) is not None:
            with contextlib.suppress(SessionNotFound):  # One that is there is no new one.
                record = await self._find(caller, READ_SESSION, pool.name, wanted.id)
                return session_pb2.CreateSessionResponse(session=to_message(record), created=False)
            self._refused(pool, full)
            raise full
        try:
            record, created = await self._store.create_session(wanted, limits.max_sessions, limits.max_per_caller or 0)
        except (SessionQuota, CallerLimit) as refusal:
            self._refused(pool, refusal)
            raise
        except UnreadableRecord as error:
            await self._allow(caller, READ_SESSION, error.record)
            raise
        if created:
            self._count.made(pool)
            self._flow.telemetry.sessions_created.add(pool.name)
        else:
            await self._allow(caller, READ_SESSION, record)
        self._flow.sessions.upkeep.learned(record)
        return session_pb2.CreateSessionResponse(session=to_message(record), created=created)

    def _refused(self, pool: Pool, refusal: SessionQuota | CallerLimit) -> None:
        limit = refusal.details["limit"]
        if limit == MAX_SESSIONS:
            self._count.refused(pool)
        self._flow.telemetry.sessions_refused.add(pool.name, limit)

    def _full(self, pool: Pool) -> SessionQuota | None:
        namespace = parse_pool(pool.name)[0]
        if (there := self._count.within(namespace)) < self._most:
            return None
        message = f"the pools of namespace {namespace} have {there} sessions, maxSessionsPerNamespace allows {self._most}: delete some"
        return SessionQuota(message, details={"limit": "maxSessionsPerNamespace", "sessions": str(self._most)})

    async def GetSession(self, request: session_pb2.GetSessionRequest, context: Context) -> session_pb2.GetSessionResponse:  # noqa: N802
        caller = await self._door.caller(context)
        record = await self._find(caller, READ_SESSION, self._flow.pools.find(full_name(request.pool)).name, request.session_id)
        return session_pb2.GetSessionResponse(session=to_message(record))

    async def ListSessions(self, request: session_pb2.ListSessionsRequest, context: Context) -> session_pb2.ListSessionsResponse:  # noqa: N802
        caller = await self._door.caller(context)
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        if size < 0:
            raise InvalidArguments(f"page_size {request.page_size} is negative")
        pool = self._flow.pools.find(full_name(request.pool))
        if await self._door.access.may(caller, LIST_SESSIONS, pool.name):
            records = [_readable(each) for each in await self._store.list_sessions(pool.name, request.page_token, size + 1)]
        else:
            await self._door.access.check(caller, CALL, pool.name)
            records = await self._own(caller, pool.name, request.page_token, size + 1)
        page = session_pb2.ListSessionsResponse()
        for record in records[:size]:
            message = to_message(record)
            if page.sessions and page.ByteSize() + message.ByteSize() > PAGE_BYTES:
                break
            page.sessions.append(message)
        if len(page.sessions) < len(records):
            page.next_page_token = page.sessions[-1].id
        return page

    async def _own(self, caller: Caller, pool: str, token: str, most: int) -> list[SessionRecord]:
        """The caller's, so many at most. Others' are passed over here: a page's token would name one of them."""
        own = list[SessionRecord]()
        while len(own) < most and (found := await self._store.list_sessions(pool, token, MAX_PAGE)):
            own += [_readable(each) for each in found if _as_far_as_read(each).is_of(caller)]
            token = found[-1].id
        return own[:most]

    async def TouchSession(self, request: session_pb2.TouchSessionRequest, context: Context) -> session_pb2.TouchSessionResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        (record,) = await self._store.touch_sessions(pool.name, {request.session_id: fence.uid if fence is not None else ""})
        if record is None:
            record = await self._store.get_session(pool.name, request.session_id)
        if fence is not None and not fence.admits(record.fence):
            raise no_session(pool.name, request.session_id)
        return session_pb2.TouchSessionResponse(session=to_message(record))

    async def DeleteSession(  # noqa: N802
        self, request: session_pb2.DeleteSessionRequest, context: Context
    ) -> session_pb2.DeleteSessionResponse:
        caller = await self._door.caller(context)
        pool = self._flow.pools.find(full_name(request.pool))
        try:
            uid = await self._find_to_delete(caller, pool.name, request.session_id)
        except SessionNotFound:
            return session_pb2.DeleteSessionResponse(deleted=False)
        gone = await self._store.delete_session(pool.name, request.session_id, uid)
        self._flow.sessions.upkeep.forget(pool.name, request.session_id)
        if gone is not None:
            self._flow.sessions.upkeep.end(pool, gone)
        return session_pb2.DeleteSessionResponse(deleted=gone is not None)

    async def RebindSession(  # noqa: N802
        self, request: session_pb2.RebindSessionRequest, context: Context
    ) -> session_pb2.RebindSessionResponse:
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        record = await rebind(self._flow.sessions, pool, request.session_id, fence.uid if fence is not None else "")
        return session_pb2.RebindSessionResponse(session=to_message(record))

    async def GetState(self, request: session_pb2.GetStateRequest, context: Context) -> session_pb2.GetStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, READ_SESSION)
        with self._counted(pool, "get", request):
            stored = await self._store.get_state(pool.name, request.session_id, request.key, fence)
        if stored is None:
            return session_pb2.GetStateResponse()
        value = await _value(stored, as_payload=request.as_payload)
        return session_pb2.GetStateResponse(found=True, version=stored.version, value=value)

    async def SetState(self, request: session_pb2.SetStateRequest, context: Context) -> session_pb2.SetStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        expected = request.expected_version if request.HasField("expected_version") else None
        value = await convert(request.value.ByteSize(), partial(json_form.from_value, request.value))
        key = check_state_key(request.key)
        with self._counted(pool, "set", request):
            written = await self._store.set_state(pool.name, request.session_id, key, value, expected, pool.spec.session, fence)
        return session_pb2.SetStateResponse(written=written.done, version=written.version)

    async def DeleteState(self, request: session_pb2.DeleteStateRequest, context: Context) -> session_pb2.DeleteStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        with self._counted(pool, "delete", request):
            deleted = await self._store.delete_state(pool.name, request.session_id, request.key, fence)
        return session_pb2.DeleteStateResponse(deleted=deleted)

    async def ListState(self, request: session_pb2.ListStateRequest, context: Context) -> session_pb2.ListStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, READ_SESSION)
        with self._counted(pool, "list", request):
            keys = await self._store.list_state(pool.name, request.session_id, fence)
            if request.with_values:
                return await self._values(pool.name, request, [each for each in keys if each.key > request.page_token], fence)
        listed = [session_pb2.ListStateResponse.Key(key=k.key, version=k.version, size_bytes=k.size_bytes) for k in keys]
        return session_pb2.ListStateResponse(keys=listed)

    @contextlib.contextmanager
    def _counted(self, pool: Pool, operation: str, request: _Of) -> Iterator[None]:
        outcome = "CANCELLED"
        try:
            yield
            outcome = "OK"
        except StaleEpoch:
            outcome = SessionNotFound.reason
            raise no_session(pool.name, request.session_id) from None
        except SnakepitError as error:
            outcome = error.reason
            raise
        finally:
            self._flow.telemetry.state_operations.add(pool.name, operation, outcome)

    async def _values(
        self, pool: str, request: session_pb2.ListStateRequest, keys: list[StoredKey], fence: Fence | None
    ) -> session_pb2.ListStateResponse:
        """As many of the keys as fit, with their values; one that is deleted meanwhile is left out."""
        page, size = list[str](), 0
        for each in keys:
            size += each.size_bytes
            if page and (size > PAGE_BYTES or len(page) == MAX_PAGE):
                break
            page.append(each.key)
        values = await asyncio.gather(*(self._store.get_state(pool, request.session_id, key, fence) for key in page))
        response = session_pb2.ListStateResponse(next_page_token=page[-1] if len(page) < len(keys) else "")
        for key, stored in zip(page, values, strict=True):
            if stored is not None:
                value = await _value(stored, as_payload=request.as_payload)
                response.keys.add(key=key, version=stored.version, size_bytes=len(stored.value.data), value=value)
        return response


def _wanted(request: session_pb2.CreateSessionRequest, caller: Caller, pool: Pool) -> SessionRecord:
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


def _check(request: session_pb2.CreateSessionRequest, caller: Caller, most_ttl: float) -> None:
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


def _readable(found: SessionRecord | UnreadableRecord) -> SessionRecord:
    """Raises UnreadableRecord."""
    if isinstance(found, UnreadableRecord):
        raise found
    return found


def _as_far_as_read(found: SessionRecord | UnreadableRecord) -> SessionRecord:
    return found.record if isinstance(found, UnreadableRecord) else found


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


async def _value(stored: StoredValue, *, as_payload: bool) -> common_pb2.Value:
    if as_payload:
        return common_pb2.Value(payload=stored.value)
    return common_pb2.Value(json=await convert(len(stored.value.data), partial(json_form.to_value, stored.value)))


def _time(seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(int(seconds * 1e9))
    return stamp
