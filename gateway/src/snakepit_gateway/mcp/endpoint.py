"""`/mcp/{namespace}/{pool}` as an ASGI application: who asks is found out here, and the package does the rest."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

from mcp.server.streamable_http import check_accept_headers
from mcp.server.subscriptions import ServerEvent
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from snakepit.errors import InvalidArguments, PermissionDenied, SnakepitError, Unauthenticated
from snakepit_gateway.attended import HungUp, attended, whole
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.mcp import older
from snakepit_gateway.mcp.asked import Asked, Catalogues
from snakepit_gateway.mcp.listening import Watches
from snakepit_gateway.mcp.managers import Managers
from snakepit_gateway.mcp.metadata import challenge
from snakepit_gateway.mcp.server import Context, known, make_server

VERSION = "mcp-protocol-version"
CONVERSATION = b"mcp-session-id"
PING_SECONDS = 15.0
_CHANGED = b'event: message\r\ndata: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\r\n\r\n'


log = logging.getLogger(__name__)
logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of each request's start and end


class Endpoint:
    """Every pool's."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._watches = Watches(gateway.leaving, partial(gateway.telemetry.streams, "mcp"))
        self._catalogues = Catalogues()
        server = make_server(_asked, self._watches, gateway.telemetry.answered)
        self._managers = Managers(server, gateway.settings.max_body_bytes)
        gateway.beside.append(self._managers.running)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]  # the package compares some with the body
        request = Request(scope, receive)
        try:
            asked = await self._find(request)
            request.state.asked = asked
            if request.method == "GET" and request.headers.get(VERSION, "") in ("", *HANDSHAKE_PROTOCOL_VERSIONS):
                await self._listen(request, asked, send)
                return
        except Unauthenticated as error:
            await challenge(request, error)(scope, receive, send)
            return
        token = known.set(asked.tools)
        try:
            if request.headers.get(VERSION, LATEST_HANDSHAKE_VERSION) in HANDSHAKE_PROTOCOL_VERSIONS:
                await self._answer_older(request, send)
            else:
                await self._managers.streaming.handle_request(scope, receive, send)
        except HungUp:
            log.debug("an MCP client hung up")
        finally:
            known.reset(token)

    async def _answer_older(self, request: Request, send: Send) -> None:
        """Raises HungUp."""
        body = await whole(request.receive)
        message, receive = older.asking(body), older.replayed(body, request.receive)
        if message.method == "initialize" and VERSION not in request.headers:
            send = _conversing(send)
        if message.hears_progress:
            await self._managers.streaming.handle_request(request.scope, receive, send)
            return
        _, may_stream = check_accept_headers(request)
        async with older.json_in_time(send, may_stream=may_stream) as send_json:
            await attended(self._managers.whole.handle_request(request.scope, receive, send_json), request.receive)

    async def _find(self, request: Request) -> Asked:
        """Raises Unauthenticated and PermissionDenied; what else keeps the pool from answering is said in MCP's own words."""
        name = f"{request.path_params['namespace']}/{request.path_params['pool']}"
        sessions = request.query_params.get("sessions", "on")
        if sessions not in ("on", "off"):
            raise InvalidArguments(f"sessions={sessions!r}: use on or off")
        authorization = request.headers.get("authorization", "")
        conversation = request.headers.get(CONVERSATION.decode(), "")
        asked = Asked(
            None,
            name,
            sessions=sessions == "on",
            timeout=_timeout(request.headers.get("snakepit-timeout")),
            conversation=f"{name} {conversation} {authorization}" if conversation else "",
        )
        try:
            pools = await self._gateway.callers.of(request)
            return replace(asked, pools=pools, tools=await self._catalogues.of(pools, name, authorization))
        except (Unauthenticated, PermissionDenied, InvalidArguments):
            raise
        except SnakepitError as error:
            return replace(asked, problem=error)

    async def _listen(self, request: Request, asked: Asked, send: Send) -> None:
        """How clients before 2026-07-28 hear of changes."""
        if "text/event-stream" not in request.headers.get("accept", ""):
            await Response("Accept must have text/event-stream", 406)(request.scope, request.receive, send)
            return
        async with self._watches.watching(asked.pool) as watch:
            changes = asyncio.Event()

            def heard(_: ServerEvent) -> None:
                changes.set()

            stop = watch.bus.subscribe(heard)
            try:
                stream = StreamingResponse(self._frames(changes), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
                await stream(request.scope, request.receive, send)
            finally:
                stop()

    async def _frames(self, changes: asyncio.Event) -> AsyncIterator[bytes]:
        yield b": listening\r\n\r\n"
        leaving = asyncio.ensure_future(self._gateway.leaving.wait())
        try:
            while not leaving.done():
                changed = asyncio.ensure_future(changes.wait())
                try:
                    await asyncio.wait((leaving, changed), timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changed.cancel()
                yield _CHANGED if changes.is_set() else b": ping\r\n\r\n"
                changes.clear()
        finally:
            leaving.cancel()


async def _asked(context: Context) -> Asked:
    request: Request = context.request  # type: ignore[assignment]  # over HTTP there is one
    asked: Asked = request.state.asked
    return asked


def _timeout(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise InvalidArguments(f"header Snakepit-Timeout: {text!r} is not a number of seconds above 0")
    return seconds


def _conversing(send: Send) -> Send:
    """A client before 2026-07-28 gets an id for its conversation, which nobody keeps: its cancellations name requests by it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            message["headers"] = [*message.get("headers", []), (CONVERSATION, secrets.token_hex(16).encode())]
        await send(message)

    return sending
