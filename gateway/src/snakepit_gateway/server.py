"""uvicorn's server as a pod needs it: it is left alone before it ends, and shows another certificate when it is given one."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from snakepit._interpreter import let_stops_in
from snakepit._wire.shown import Shown, server_context, unusable
from snakepit_gateway.settings import Settings

IDLE_SECONDS = 75
"""A connection that nobody uses is closed after this long: later than whoever stands before us does it, by default. Who closes first may
close what the other one is about to use."""

MOST_HEAD_BYTES = 512 * 1024
"""Of what has come before the headers are complete; who sends less and too much is told so by `bounds`. Also of what comes within a body
or behind it, and isn't the body."""
MOST_HEADERS = 1000
"""Of a request, with its trailers. Each is work, also the shortest: a quarter of a MiB of those kept everybody waiting for 15 ms."""


HEAD_SECONDS = 30.0
"""A request's head is whole after this long, and a new connection brings one."""


SPARE_CONNECTIONS = 256
"""There are as many more connections as requests may run: so whoever comes has a place to ask at, be it that they are told to wait. With
one more, the one is hung up on that has brought no request for longest."""

UNREAD_SECONDS = 30.0
"""Whoever is hung up on, and reads nothing of what it was still told for so long, is cut off."""

LAST_WORD_SECONDS = 1.0
"""When the time for what runs is over, its callers may so long be told what has become of it."""

FORWARDED_FOR = b"x-forwarded-for"
MOST_FORWARDED_BYTES = 512
"""The end of what is said of those whom a request was passed on for: uvicorn looks for each, from the last one on, in all networks of
proxies, and half a MiB of them would keep everybody waiting for a third of a second."""


class Config(uvicorn.Config):
    """`most`: connections that there may be. `idle`: those without a request, the one that has had none for longest first."""

    def __init__(self, *args: Any, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.most = most
        self.idle: dict[Protocol, None] = {}


class Protocol(HttpToolsProtocol):
    """uvicorn's, which would collect whatever comes of a request's head, and behind its body, and wait for it for ever: what doesn't end is
    cut off."""

    _came = 0
    """Bytes since the last request was whole; within a body, since its last ones."""
    _in_body = False
    """A head is whole, and not all that belongs to it has come."""
    _headers = 0
    """Of this request, so far."""
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        assert isinstance(self.config, Config)
        self._idle = self.config.idle
        if len(self.connections) > self.config.most and self._idle:
            next(iter(self._idle)).hang_up()
        self._idle[self] = None
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_idle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._came > MOST_HEAD_BYTES:
            self.send_400_response("The headers are too large.")
            return
        super().data_received(data)
        if self._came:
            self._wait_for_head()

    def _wait_for_head(self) -> None:
        """But not while a request runs, whose answer it would take along."""
        if self in self._idle and self._late is None and not self._in_body:
            self._late = self.loop.call_later(HEAD_SECONDS, self.hang_up)

    def _leave_idle(self) -> None:
        self._idle.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def hang_up(self) -> None:
        """When its peer has read what it was told."""
        self._leave_idle()
        self.transport.close()
        self._see_off(None)

    def _see_off(self, unread: int | None) -> None:
        """`unread`: bytes that its peer had not read UNREAD_SECONDS ago."""
        left = self.transport.get_write_buffer_size()
        if left and left == unread:
            self.transport.abort()
        elif left:
            self._late = self.loop.call_later(UNREAD_SECONDS, self._see_off, left)

    def timeout_keep_alive_handler(self) -> None:
        if not self.transport.is_closing():
            self.hang_up()

    def send_400_response(self, msg: str) -> None:
        """But not into an answer that has begun."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            super().send_400_response(msg)
        self.hang_up()

    def on_message_begin(self) -> None:
        self._came, self._headers = self._came or 1, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._came, self._in_body = 0, True
        self._leave_idle()
        keep_last_forwarded(self.headers)
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        if self._headers > MOST_HEADERS:
            raise ValueError("too many headers")  # The parser stops, and uvicorn refuses it.
        if not self._in_body:  # Else it is a trailer, which nobody reads.
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._came = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._came, self._in_body = 0, False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.hang_up()
        if self.transport.is_closing() or not self.cycle.response_complete:  # Another one has come behind it.
            return
        self._idle[self] = None
        if self._came:
            self._wait_for_head()


class Server(uvicorn.Server):
    """After TERM or INT it serves on for `linger_seconds`, but is `leaving`, and hangs up after each answer: everybody goes elsewhere.

    Then it accepts nobody, and what runs may finish within `drain_seconds`. What still runs then, `give_up` has fail. A second signal cuts
    the first of the two short, and a third one the other.
    """

    def __init__(self, app: Any, settings: Settings, leaving: asyncio.Event, give_up: Callable[[], Awaitable[None]]) -> None:
        """Raises ValueError with a sentence where the certificate can't be used."""
        certificate = _certificate(settings)
        config = Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=settings.drain_seconds + LAST_WORD_SECONDS,
            most=settings.max_requests + SPARE_CONNECTIONS,
            forwarded_allow_ips=[*settings.proxies],
            ssl_context_factory=None if certificate is None else lambda _config, _default: certificate,
        )
        super().__init__(config)
        self._leaving, self._give_up = leaving, give_up
        self._linger_seconds, self._drain_seconds = settings.linger_seconds, settings.drain_seconds
        self._told_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        let_stops_in()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._told_at is None:
            self._told_at = time.monotonic()
        elif not self.should_exit:
            self.should_exit = True
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._told_at is not None:
            if not self._leaving.is_set():
                self._leaving.set()
                self.config.encoded_headers.append((b"connection", b"close"))
                counter = 0  # They hold from now on.
            self.should_exit |= time.monotonic() - self._told_at >= self._linger_seconds
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drain = asyncio.create_task(self._drain(), name="drain")
        await super().shutdown(sockets)
        drain.cancel()

    async def _drain(self) -> None:
        await asyncio.sleep(self._drain_seconds)
        await self._give_up()


def keep_last_forwarded(headers: list[tuple[bytes, bytes]]) -> None:
    """Of a request, in place: whole addresses alone are left."""
    said = b",".join(value for name, value in headers if name == FORWARDED_FOR)
    if len(said) > MOST_FORWARDED_BYTES:
        last = said[-MOST_FORWARDED_BYTES:].partition(b",")[2]
        headers[:] = [*(each for each in headers if each[0] != FORWARDED_FOR), (FORWARDED_FOR, last)]


def _certificate(settings: Settings) -> ssl.SSLContext | None:
    """None: there is to be no TLS. Each handshake goes on with the certificate of its moment. Raises ValueError."""
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = Path(settings.tls_cert_file), Path(settings.tls_key_file)

    def read() -> ssl.SSLContext:
        try:
            return server_context(*files)
        except OSError as error:
            raise unusable(error, files) from None

    shown = Shown(files, read)

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = shown.now()

    first = read()
    first.sni_callback = choose
    return first
