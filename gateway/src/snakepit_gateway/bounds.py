"""What every request goes through first: whence it may come, how many may run, how large it may be, and the id that it is known by."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from snakepit._names import call_id
from snakepit.errors import CallerLimit, PayloadTooLarge, SnakepitError, Started
from snakepit_gateway.crowd import Crowd
from snakepit_gateway.problems import ForeignOrigin, GatewayFull, HeadersTooLarge, RequestTimeout, problem
from snakepit_gateway.room import LARGE_BYTES, Room
from snakepit_gateway.settings import Settings

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32 * 1024
PATIENCE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""A body is waited for so long, and longer as it comes at this rate: who sends nothing keeps nobody out for long."""
REQUEST_ID = b"x-request-id"
_NOSNIFF, _CLOSING = (b"x-content-type-options", b"nosniff"), (b"connection", b"close")
_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that are answered whoever else is there: a gateway that has much to do is neither dead nor away."""

Headers = Mapping[bytes, bytes]


class Bounds:
    """ASGI, before everything else. It gives each request its id: `scope["state"]["request_id"]`."""

    def __init__(self, app: ASGIApp, settings: Settings, room: Room) -> None:
        self._app = app
        self._crowd = Crowd(settings)
        self._most = settings.max_body_bytes
        self._room = room
        self._cors = frozenset(settings.cors_origins)
        self._hosts = _LOOPBACK if settings.host in _LOOPBACK else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        given = headers.get(REQUEST_ID, b"")
        request_id = given if _ID.fullmatch(given) else call_id().encode()
        scope.setdefault("state", {})["request_id"] = request_id.decode()
        body, begun, own = _Body(receive, headers, self._most, self._room), False, [(REQUEST_ID, request_id), _NOSNIFF]
        place: str | None = None

        async def write(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            if (place := self._enter(scope)) is None:
                own.append(_CLOSING)
            self._check(scope, headers)
            await self._app(scope, body.read, write)
        except ClientDisconnect:  # Starlette's word, where it reads a body
            of = {"request": request_id.decode()}
            log.debug("request %s: its caller hung up before it was complete", request_id.decode(), extra=of)
        except Exception as error:
            told = error if isinstance(error, SnakepitError) else body.refused or _failed(scope)  # whoever reads it may have wrapped that
            if begun:
                raise
            await problem(told, also={"Connection": "close"})(scope, receive, write)
        finally:
            body.let_go()
            if place is not None:
                self._crowd.leave(place)

    def _enter(self, scope: Scope) -> str | None:
        """Whose place it has; None: a probe needs none, but then its connection ends with it. Raises GatewayFull and CallerLimit."""
        try:
            return self._crowd.enter((scope.get("client") or ("",))[0])
        except (GatewayFull, CallerLimit):
            if scope["path"] in PROBES:
                return None
            raise

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises SnakepitError."""
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
            details = {"limit": "MAX_HEADER_BYTES", "bytes": str(MAX_HEADER_BYTES)}
            raise HeadersTooLarge(f"the headers have more than {MAX_HEADER_BYTES} bytes", details=details)
        if (length := headers.get(b"content-length", b"")).isdigit() and int(length) > self._most:
            raise _too_large(self._most)
        host = headers.get(b"host", b"").decode("latin-1")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            raise ForeignOrigin(f"this gateway serves this machine alone, and is not called {host[:80]!r}: use localhost")
        if (origin := headers.get(b"origin")) is not None:
            self._check_origin(origin.decode("latin-1"), host)
        elif headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] not in _SAFE:
            raise ForeignOrigin("a page of another site asks: list its origin in SNAKEPIT_GATEWAY_CORS_ORIGINS")

    def _check_origin(self, origin: str, host: str) -> None:
        if origin not in self._cors and urlsplit(origin).netloc != host:
            raise ForeignOrigin(f"a page of {origin[:80]} asks: list that origin in SNAKEPIT_GATEWAY_CORS_ORIGINS if it may")


class _Body:
    """A request's, no larger than it may be; a large one has room before it is read."""

    def __init__(self, receive: Receive, headers: Headers, most: int, room: Room) -> None:
        self._receive, self._headers, self._most, self._room = receive, headers, most, room
        self._came = self._held = self._small = 0
        self._waited = 0.0
        self._is_whole = False
        self.refused: SnakepitError | None = None

    async def read(self) -> Message:
        """Raises SnakepitError, which is `refused` then."""
        try:
            return await self._read()
        except SnakepitError as error:
            self.refused = error
            raise

    async def _read(self) -> Message:
        message = await (self._receive() if self._is_whole else self._more())
        self._is_whole = not message.get("more_body")
        self._came += (came := len(message.get("body", b"")))
        if self._came > self._most:
            raise _too_large(self._most)
        if came and not self._held:
            self._room.squeeze_in(came)
            self._small += came
            if message.get("more_body") and (size := _size(self._headers, self._most)) > LARGE_BYTES:
                await self._room.take(size)
                self._held = size
                self._leave_small()
        return message

    def _leave_small(self) -> None:
        self._room.let_out(self._small)
        self._small = 0

    async def _more(self) -> Message:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + self._came / SLOWEST_BYTES_PER_SECOND - self._waited):
                return await self._receive()
        except TimeoutError:
            raise RequestTimeout(f"{self._came} bytes of the body have come, and the rest comes too slowly") from None
        finally:
            self._waited += loop.time() - began

    def let_go(self) -> None:
        self._leave_small()
        if self._held:
            self._room.leave(self._held)


def _failed(scope: Scope) -> SnakepitError:
    """Within an exception that nobody expected."""
    known = scope["state"]["request_id"]
    log.exception("request %s: %s %s", known, scope["method"], scope["path"], extra={"request": known})
    return SnakepitError("the gateway failed: its log has why, under this X-Request-Id", started=Started.MAYBE)


def _too_large(most: int) -> PayloadTooLarge:
    details = {"limit": "SNAKEPIT_GATEWAY_MAX_BODY_BYTES", "bytes": str(most)}
    return PayloadTooLarge(f"the request's body has more than {most} bytes", details=details)


def _size(headers: Headers, most: int) -> int:
    """Of a body that has not come whole yet; who doesn't say may send as much as anybody."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else most
