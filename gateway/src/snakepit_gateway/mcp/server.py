"""The one MCP server of a process: it answers for every pool, and keeps nothing between two requests."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import anyio
import msgspec
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    CancelledNotificationParams,
    ListToolsResult,
    PaginatedRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    TextContent,
)

from snakepit import Pool, Session, ToolInfo, __version__
from snakepit._ipc.frames import Payload
from snakepit._names import call_id
from snakepit._telemetry.propagation import TRACESTATE
from snakepit._values.payloads import encode_arguments
from snakepit.client.calls import Relay as Wished
from snakepit.client.codec import decode
from snakepit.errors import Cancelled, InvalidArguments, PayloadTooLarge, PoolNotFound, SnakepitError, Started, ToolNotFound
from snakepit_gateway import traces
from snakepit_gateway.mcp import results
from snakepit_gateway.mcp.asked import Asked, Tools, tools_soon
from snakepit_gateway.mcp.catalogue import OPEN_SESSION, SESSION, described, takes_session
from snakepit_gateway.mcp.listening import Watches
from snakepit_gateway.mcp.progress import OfStream, Relay, relayed
from snakepit_gateway.telemetry import ERROR, OK, TOOL_ERROR
from snakepit_gateway.values import arguments

Context = ServerRequestContext[Any, Any]
Told = Callable[[str, str], None]
"""`(method, outcome)`."""

Find = Callable[[Context], Awaitable[Asked]]
"""Who asks, and for what, by a request's context."""

LIST_TTL_MS = 5_000
MOST_TOLD = 1_000
MOST_CHUNKS = 10_000
MOST_CHUNK_BYTES = 4 << 20
MOST_WARNINGS = 8
"""Of a stream: as many as of one result."""

known: ContextVar[Tools] = ContextVar("known")
"""The tools of the request in whose context it is asked: the package checks headers before it tells a handler anything."""


class _Server(Server[Any]):
    """One that says to clients before 2026-07-28 that it tells of changes."""

    def create_initialization_options(self, notification_options: NotificationOptions | None = None, *more: Any, **named: Any) -> Any:
        return super().create_initialization_options(notification_options or NotificationOptions(tools_changed=True), *more, **named)


def make_server(find: Find, watches: Watches, tell: Told = lambda *_: None) -> Server[Any]:
    """It lists and calls tools, and listens for changes of the list. `tell` hears of each request that is answered."""
    handlers = _Handlers(find, watches)
    server = _Server(
        "snakepit",
        version=__version__,
        title="Snakepit",
        get_tool_input_schema=_input_schema,
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_subscriptions_listen=handlers.listen,
    )
    server.add_notification_handler("notifications/cancelled", CancelledNotificationParams, handlers.cancel)
    server.middleware.append(_Told(tell))
    return server


class _Told(ServerMiddleware[Any]):
    """Around every request: what fails before it comes to a handler, too. A cancelled one has no answer."""

    def __init__(self, tell: Told) -> None:
        self._tell = tell

    async def __call__(self, context: Context, call_next: CallNext) -> HandlerResult:
        if context.request_id is None:  # a notification
            return await call_next(context)
        try:
            result = await call_next(context)
        except Exception:
            self._tell(context.method, ERROR)
            raise
        match result:
            case CallToolResult(is_error=True) | {"isError": True}:
                self._tell(context.method, TOOL_ERROR)
            case _:
                self._tell(context.method, OK)
        return result


def _input_schema(name: str) -> dict[str, Any] | None:
    tool = known.get({}).get(name)
    return None if tool is None else tool.input_schema


class _Handlers:
    def __init__(self, find: Find, watches: Watches) -> None:
        self._find = find
        self._watches = watches
        self._running: dict[tuple[str, str], anyio.CancelScope] = {}

    async def list_tools(self, context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
        asked = await self._find(context)
        try:
            tools = await tools_soon(asked.pool)
        except SnakepitError as error:
            raise _protocol_error(error) from error
        return ListToolsResult(tools=described(tools, sessions=asked.sessions), ttl_ms=LIST_TTL_MS, cache_scope="private")

    async def listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        asked = await self._find(context)
        if asked.problem is not None:
            raise _protocol_error(asked.problem)
        async with self._watches.watching(asked.pool) as watch:
            return await watch.handler(context, params)

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        asked = await self._find(context)
        headers = {} if context.request is None else context.request.headers
        parent, along = traces.of_mcp(context.meta, headers.get("traceparent", "")), traces.carried_by_mcp(context.meta, headers)
        span = traces.begin_mcp(params.name, asked.name, context.request_id, parent, along.get(TRACESTATE, ""))
        wished = Wished(call_id(), parent if span is None else span.traceparent, asked.timeout, carried=along)
        if span is None:
            return await self._answered(asked, context, params, wished)
        error, started = Cancelled.reason, str(Started.MAYBE)
        try:
            result = await self._answered(asked, context, params, wished)
            error, started = results.failed(result)
            return result
        except MCPError as refused:
            error, started = refused.error.data["reason"], refused.error.data["started"]
            raise
        finally:
            span.end(error, started)

    async def _answered(self, asked: Asked, context: Context, params: CallToolRequestParams, wished: Wished) -> CallToolResult:
        try:
            with self._cancellable(asked, context) as scope:
                return await self._called(asked, context, params, wished)
            assert scope.cancelled_caught
            return results.of_error(Cancelled("the client cancelled the call"))
        except (ToolNotFound, PoolNotFound) as error:
            raise _protocol_error(error) from error
        except SnakepitError as error:
            return results.of_error(error)

    async def cancel(self, context: Context, params: CancelledNotificationParams) -> None:
        """Over HTTP such a notification comes on its own, perhaps to another gateway: then the call's own stream has to be closed."""
        asked = await self._find(context)
        scope = self._running.get((asked.conversation, str(params.request_id)))
        if asked.conversation and scope is not None:
            scope.cancel()

    @contextlib.contextmanager
    def _cancellable(self, asked: Asked, context: Context) -> Any:
        key = (asked.conversation, str(context.request_id))
        with anyio.CancelScope() as scope:
            if asked.conversation:
                self._running[key] = scope
            try:
                yield scope
            finally:
                if self._running.get(key) is scope:
                    del self._running[key]

    async def _called(self, asked: Asked, context: Context, params: CallToolRequestParams, wished: Wished) -> CallToolResult:
        if asked.problem is not None:
            raise asked.problem
        tool = asked.tools.get(params.name)
        if tool is None and params.name == OPEN_SESSION and asked.sessions:
            return await _opened(asked.pool)
        given = dict(params.arguments or {})
        target: Pool | Session = asked.pool
        if asked.sessions and (tool is None or takes_session(tool)) and (session := given.pop(SESSION, None)):
            target = asked.pool.session(_handle(session))
        given = {name: arguments(value) for name, value in given.items()}
        call = _Call(target, asked, tool, params.name, encode_arguments(given), wished)
        if not context.meta or context.meta.get("progress_token") is None:
            return await _run(call, None)
        async with relayed(context.session.report_progress) as relay:
            return await _run(call, relay)


class _Call(NamedTuple):
    """`tool` None: nobody knows it."""

    target: Pool | Session
    asked: Asked
    tool: ToolInfo | None
    name: str
    given: Payload
    wished: Wished

    @property
    def uri(self) -> str:
        return f"snakepit://{self.asked.name}/{self.name}"


async def _run(call: _Call, relay: Relay | None) -> CallToolResult:
    if call.tool is not None and call.tool.streaming:
        return await _streamed(call, call.tool, relay)
    answer = await call.target.relay(call.name, call.given, call.wished, None if relay is None else relay.say)
    return results.warned(results.of_value(_decoded(answer.payload), call.tool, call.uri), answer.payload.warnings)


async def _streamed(call: _Call, tool: ToolInfo, relay: Relay | None) -> CallToolResult:
    """MCP has no streams: the result is all of it, and progress tells of each piece as it comes, and of what the tool says itself."""
    chunks: list[Any] = []
    warnings: list[str] = []
    size = 0
    told = None if relay is None else OfStream(relay)
    async with call.target.relay_stream(tool.name, call.given, call.wished, None if told is None else told.fraction) as stream:
        async for encoded in stream:
            chunk = _decoded(encoded)
            warnings.extend(encoded.warnings[: MOST_WARNINGS - len(warnings)])
            chunks.append(chunk)
            size += results.size(chunk)
            if len(chunks) > MOST_CHUNKS or size > MOST_CHUNK_BYTES:
                raise PayloadTooLarge(
                    f"the stream has more than {MOST_CHUNKS} pieces, or {MOST_CHUNK_BYTES} bytes: too much for one result of MCP",
                    started=Started.YES,
                    details={"limit": "stream", "bytes": str(MOST_CHUNK_BYTES)},
                )
            if told is not None:
                told.piece(chunk[:MOST_TOLD] if isinstance(chunk, str) else "")
    return results.warned(results.of_stream(chunks, tool, call.uri), warnings)


def _decoded(payload: Payload) -> Any:
    """Its warnings are for whoever called: Python's own would tell a gateway, which can do nothing about it, and remember each."""
    return decode(msgspec.structs.replace(payload, warnings=()), attached=True)


async def _opened(pool: Pool) -> CallToolResult:
    session = pool.session()
    await session.create()
    text = f"Session {session.id} is open: give it as `{SESSION}` to the other tools."
    return CallToolResult(content=[TextContent(text=text)], structured_content={SESSION: session.id})


def _handle(session: Any) -> str:
    if not isinstance(session, str):
        raise InvalidArguments(f"argument `{SESSION}` must be the text that {OPEN_SESSION} gave you")
    return session


def _protocol_error(error: SnakepitError) -> MCPError:
    data = {"reason": error.reason, "started": str(error.started), "details": dict(error.details)}
    return MCPError(INVALID_PARAMS if isinstance(error, ToolNotFound | PoolNotFound) else INTERNAL_ERROR, error.message, data)
