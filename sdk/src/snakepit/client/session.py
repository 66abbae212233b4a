"""A session at the caller's end: its calls stay together on one worker, and its state outlives every worker."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Self, TypeVar

from google.protobuf.message import Message

from snakepit._names import check_session, check_state_key
from snakepit._telemetry import spans, tracing
from snakepit._telemetry.propagation import TRACESTATE
from snakepit._telemetry.span import Span
from snakepit._telemetry.traceparent import NOT_SAMPLED
from snakepit._values.strings import check
from snakepit.client import codec, requests, snapshot, views
from snakepit.client.calls import Calls
from snakepit.client.connection import Connection
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import common_pb2, session_pb2, tool_pb2

_EXPORT_ATTEMPTS = 5
_TRACE = ("traceparent", TRACESTATE)

R = TypeVar("R", bound=Message)


class State:
    """The session's keys, read and written by the caller; every write gives the key a new version, counted from 1."""

    def __init__(self, connection: Connection, target: requests.Target) -> None:
        self._connection = connection
        self._names: dict[str, Any] = {"pool": target.pool, "session_id": target.session_id}
        self._traceparent = self._tracestate = ""

    def within(self, traceparent: str, tracestate: str) -> None:
        """For a gateway: operations are part of that trace from here on."""
        self._traceparent, self._tracestate = traceparent, tracestate

    async def get(self, key: str, default: Any = None) -> Any:
        """The value, or `default` where the key is absent."""
        value, version = await self.get_versioned(key)
        return value if version else default

    async def get_versioned(self, key: str) -> tuple[Any, int]:
        """The value and its version; (None, 0) where the key is absent."""
        request = session_pb2.GetStateRequest(**self._names, key=check_state_key(key), as_payload=True)
        reply = await self._ask("get", request, session_pb2.GetStateResponse, key)
        return (codec.decode(reply.value.payload), reply.version) if reply.version else (None, 0)

    async def set(self, key: str, value: Any) -> int:
        """Write a value and return its version. Raises StateQuota, CallerLimit, SessionNotFound, and StoreUnavailable."""
        return (await self._write(key, codec.encode_state(value))).version

    async def compare_and_set(self, key: str, value: Any, expected_version: int) -> bool:
        """Write only over `expected_version` (0: only where the key is absent). Returns False where the version was another."""
        return bool(await self.replace(key, value, expected_version))

    async def replace(self, key: str, value: Any, expected_version: int) -> int:
        """As `compare_and_set`: the new version, or 0 where nothing was written."""
        reply = await self._write(key, codec.encode_state(value), expected_version)
        return reply.version if reply.written else 0

    async def delete(self, key: str) -> bool:
        """Delete the key; True if it was there."""
        request = session_pb2.DeleteStateRequest(**self._names, key=check_state_key(key))
        reply = await self._ask("delete", request, session_pb2.DeleteStateResponse, key, safe=False)
        return reply.deleted

    async def keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted(await self.versions())

    async def versions(self) -> dict[str, int]:
        """The version of every key."""
        request = session_pb2.ListStateRequest(**self._names)
        reply = await self._ask("keys", request, session_pb2.ListStateResponse)
        return {each.key: each.version for each in reply.keys}

    async def everything(self) -> dict[str, tuple[snapshot.Value, int]]:
        """Each key's payload as it was written, and its version; not of one moment."""
        found: dict[str, tuple[snapshot.Value, int]] = {}
        request = session_pb2.ListStateRequest(**self._names, with_values=True, as_payload=True)
        while True:
            reply = await self._ask("keys", request, session_pb2.ListStateResponse)
            for each in reply.keys:
                found[each.key] = snapshot.Value(each.value.payload.content_type, each.value.payload.data), each.version
            if not reply.next_page_token:
                return found
            request.page_token = reply.next_page_token

    async def set_raw(self, key: str, value: snapshot.Value) -> int:
        """Write a payload as it is, and return the new version."""
        return (await self._write(key, common_pb2.Payload(content_type=value.content_type, data=value.data))).version

    async def _write(self, key: str, payload: common_pb2.Payload, expected: int | None = None) -> session_pb2.SetStateResponse:
        wire = common_pb2.Value(payload=payload)
        request = session_pb2.SetStateRequest(**self._names, key=check_state_key(key), value=wire, expected_version=expected)
        return await self._ask("set", request, session_pb2.SetStateResponse, key, safe=False)

    async def _ask(self, operation: str, request: Message, answer: type[R], key: str = "", *, safe: bool = True) -> R:
        span = self._span(operation, key)
        trace = (self._traceparent, self._tracestate) if span is None else (span.traceparent, span.tracestate)
        along = tuple((name, text) for name, text in zip(_TRACE, trace, strict=True) if text not in ("", NOT_SAMPLED))
        with contextlib.nullcontext() if span is None else tracing.ending(span):
            return await self._connection.ask(request, answer, safe=safe, along=along)

    def _span(self, operation: str, key: str) -> Span | None:
        """Around an operation; None: it isn't traced."""
        given = self._traceparent
        if not tracing.enabled() or not (tracing.follows(given) if given else not tracing.passes_over()):
            return None
        about = partial(spans.of_state, self._names["pool"], self._names["session_id"], key)
        return tracing.start_span(f"state {operation}", given, about, kind="client", tracestate=self._tracestate)


def _ttl(seconds: float) -> float:
    if not hasattr(seconds, "__float__") or not seconds >= 0:
        raise InvalidArguments(f"ttl_seconds {seconds!r} must be a number of seconds, or None for the pool's own")
    return float(seconds)


class Session(Calls):
    """A handle on one session; see `Pool.session`."""

    def __init__(
        self,
        connection: Connection,
        target: requests.Target,
        *,
        ttl_seconds: float | None,
        metadata: Mapping[str, str] | None,
        delete: bool,
        group: str = "",
    ) -> None:
        super().__init__(connection, target)
        self.id = check_session(target.session_id)
        self.pool = target.pool
        self.state = State(connection, target)
        self._ttl_seconds = ttl_seconds
        self._metadata = metadata
        self._delete = delete
        self._group = check("group", group)

    def __repr__(self) -> str:
        return f"Session({self.id!r}, pool={self.pool!r})"

    async def __aenter__(self) -> Self:
        await self.create()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._delete:
            await self.delete()

    async def create(self) -> bool:
        """Make the session. Returns False where there was one: it is as it was. Raises SessionQuota and CallerLimit."""
        request = session_pb2.CreateSessionRequest(
            pool=self.pool,
            session_id=self.id,
            metadata=requests.checked_metadata(self._metadata or {}),
            ttl_seconds=0.0 if self._ttl_seconds is None else _ttl(self._ttl_seconds),
            group=self._group,
        )
        reply = await self._connection.ask(request, session_pb2.CreateSessionResponse)
        return reply.created

    async def info(self) -> views.SessionInfo:
        """Where the session is bound, and how long it lives. Raises SessionNotFound."""
        request = session_pb2.GetSessionRequest(pool=self.pool, session_id=self.id)
        reply = await self._connection.ask(request, session_pb2.GetSessionResponse)
        return views.session_info(reply.session)

    async def tools(self) -> list[views.ToolInfo]:
        """The pool's tools, and those that clients offer for this session."""
        request = tool_pb2.ListToolsRequest(pool=self.pool, session_id=self.id)
        reply = await self._connection.ask(request, tool_pb2.ListToolsResponse)
        return [views.tool_info(tool) for tool in reply.tools]

    async def touch(self) -> views.SessionInfo:
        """Let the session's time to live begin anew. Raises SessionNotFound."""
        request = session_pb2.TouchSessionRequest(pool=self.pool, session_id=self.id)
        reply = await self._connection.ask(request, session_pb2.TouchSessionResponse)
        return views.session_info(reply.session)

    async def rebind(self) -> views.SessionInfo:
        """Let go of the bound worker: the next call binds anew, under the next epoch. State stays."""
        request = session_pb2.RebindSessionRequest(pool=self.pool, session_id=self.id)
        reply = await self._connection.ask(request, session_pb2.RebindSessionResponse, safe=False)
        return views.session_info(reply.session)

    async def export(self) -> snapshot.Snapshot:
        """All that another session can be made of, as of one moment. Raises SnakepitError when the state won't keep still."""
        info = await self.info()
        for _ in range(_EXPORT_ATTEMPTS):
            read = await self.state.everything()
            if {key: version for key, (_, version) in read.items()} == await self.state.versions():
                values = {key: value for key, (value, _) in read.items()}
                return snapshot.Snapshot(snapshot.FORMAT, self.pool, self.id, info.ttl_seconds, info.metadata, values)
        raise SnakepitError(f"session {self.id!r} is being written to all the time: export it when its calls have ended")

    async def restore(self, saved: snapshot.Snapshot) -> None:
        """Make this session of an exported one: whole, or not at all. Raises InvalidArguments when there is one already."""
        self._metadata, self._ttl_seconds = saved.metadata, saved.ttl_seconds
        if not await self.create():
            raise InvalidArguments(f"pool {self.pool} has a session {self.id!r} already: delete it, or give the new one another id")
        try:
            for key, value in saved.state.items():
                await self.state.set_raw(key, value)
        except BaseException:
            await self.delete()
            raise

    async def delete(self) -> bool:
        """End the session, with its state. Returns False where there was none."""
        request = session_pb2.DeleteSessionRequest(pool=self.pool, session_id=self.id)
        reply = await self._connection.ask(request, session_pb2.DeleteSessionResponse)
        return reply.deleted
