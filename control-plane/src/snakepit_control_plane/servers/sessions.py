"""SessionService: sessions and their state, for clients. What the store answers is told to the sessions' stage."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import grpc

from snakepit._names import parse_pool
from snakepit._telemetry import tracing
from snakepit._telemetry.propagation import TRACESTATE, carried
from snakepit.errors import CallerLimit, InvalidArguments, SessionNotFound, SessionQuota
from snakepit.v1 import session_pb2, session_pb2_grpc
from snakepit_control_plane.flow import spans
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.sessions.releases import rebind
from snakepit_control_plane.flow.sessions.upkeep import SessionCount
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.session import Fence
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, LIST_SESSIONS, READ_SESSION, Right
from snakepit_control_plane.servers.client_state import ClientState
from snakepit_control_plane.servers.door import Door, find_pool
from snakepit_control_plane.servers.rpc import full_name, metadata, traceparent
from snakepit_control_plane.servers.session_messages import DEFAULT_PAGE, MAX_PAGE, PAGE_BYTES, check_request, to_message, to_record
from snakepit_control_plane.servers.session_owners import SessionOwners, readable
from snakepit_control_plane.store.interface import Store, UnreadableRecord
from snakepit_control_plane.store.memory import MAX_SESSIONS, no_session

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
        self._owners = SessionOwners(door.access, store)
        self._state = ClientState(store, flow.telemetry)

    async def _admit(self, request: _Of, context: Context, right: Right) -> tuple[Pool, Fence | None]:
        """The pool, and the session's uid, for whoever owns the session or has the right on all of the pool's; None: whose it is doesn't
        matter. Raises SessionNotFound for others."""
        caller = await self._door.caller(context)
        pool = self._flow.pools.find(full_name(request.pool))
        if not caller.subject:
            return pool, None
        return pool, Fence((await self._owners.find(caller, right, pool.name, request.session_id)).uid, None)

    async def CreateSession(  # noqa: N802
        self, request: session_pb2.CreateSessionRequest, context: Context
    ) -> session_pb2.CreateSessionResponse:
        pool, caller = await find_pool(self._door, self._flow.pools, context, CALL, request.pool)
        limits = pool.spec.session
        check_request(request, caller, limits.ttl_seconds)
        wanted = to_record(request, caller, pool)
        if (full := self._full(pool)) is not None:
            with contextlib.suppress(SessionNotFound):  # One that is there is no new one.
                record = await self._owners.find(caller, READ_SESSION, pool.name, wanted.id)
                return session_pb2.CreateSessionResponse(session=to_message(record), created=False)
            self._refused(pool, full)
            raise full
        try:
            record, created = await self._store.create_session(wanted, limits.max_sessions, limits.max_per_caller or 0)
        except (SessionQuota, CallerLimit) as refusal:
            self._refused(pool, refusal)
            raise
        except UnreadableRecord as error:
            await self._owners.allow(caller, READ_SESSION, error.record)
            raise
        if created:
            self._count.made(pool)
            self._flow.telemetry.sessions_created.add(pool.name)
        else:
            await self._owners.allow(caller, READ_SESSION, record)
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
        record = await self._owners.find(caller, READ_SESSION, self._flow.pools.find(full_name(request.pool)).name, request.session_id)
        return session_pb2.GetSessionResponse(session=to_message(record))

    async def ListSessions(self, request: session_pb2.ListSessionsRequest, context: Context) -> session_pb2.ListSessionsResponse:  # noqa: N802
        caller = await self._door.caller(context)
        size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        if size < 0:
            raise InvalidArguments(f"page_size {request.page_size} is negative")
        pool = self._flow.pools.find(full_name(request.pool))
        if await self._door.access.may(caller, LIST_SESSIONS, pool.name):
            records = [readable(each) for each in await self._store.list_sessions(pool.name, request.page_token, size + 1)]
        else:
            await self._door.access.check(caller, CALL, pool.name)
            records = await self._owners.list_own(caller, pool.name, request.page_token, size + 1)
        page = session_pb2.ListSessionsResponse()
        for record in records[:size]:
            message = to_message(record)
            if page.sessions and page.ByteSize() + message.ByteSize() > PAGE_BYTES:
                break
            page.sessions.append(message)
        if len(page.sessions) < len(records):
            page.next_page_token = page.sessions[-1].id
        return page

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
            uid = await self._owners.find_to_delete(caller, pool.name, request.session_id)
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
        with _traced("get", pool, request, context):
            return await self._state.get(pool, request, fence)

    async def SetState(self, request: session_pb2.SetStateRequest, context: Context) -> session_pb2.SetStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        with _traced("set", pool, request, context):
            return await self._state.put(pool, request, fence)

    async def DeleteState(self, request: session_pb2.DeleteStateRequest, context: Context) -> session_pb2.DeleteStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, CHANGE_SESSION)
        with _traced("delete", pool, request, context):
            return await self._state.delete(pool, request, fence)

    async def ListState(self, request: session_pb2.ListStateRequest, context: Context) -> session_pb2.ListStateResponse:  # noqa: N802
        pool, fence = await self._admit(request, context, READ_SESSION)
        with _traced("keys", pool, request, context):
            return await self._state.keys(pool, request, fence)


def _traced(operation: str, pool: Pool, request: _Of, context: Context) -> contextlib.AbstractContextManager[object]:
    """Around what is done with state, where its sender traces it."""
    if tracing.enabled() and (given := traceparent(sent := metadata(context))):
        state = carried(sent, given).get(TRACESTATE, "")
        if (span := spans.stored(operation, pool.name, request.session_id, given, state)) is not None:
            return tracing.ending(span)
    return contextlib.nullcontext()
