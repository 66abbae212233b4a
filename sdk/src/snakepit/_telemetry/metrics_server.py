"""/metrics for Prometheus: prometheus_client's application, and the standard library's words of HTTP, on one thread and with bounds.

prometheus_client's own server gives each connection a thread, for as long as its peer likes. Threads that start, end, or read a byte take
turns with the program's loop, so whoever opens many kept it waiting for 20 ms. Here all connections have one thread. It waits for a
request's whole head before it answers, and for nobody who reads slowly. A connection has an end, and there are at most so many: with one
more, the oldest is hung up on. While there is none, nothing wakes up: every pod has such a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from selectors import EVENT_READ, EVENT_WRITE
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

LIFE_SECONDS = 15.0
"""After so long a connection is hung up, whatever it does."""

PACE_SECONDS = 0.005
"""Between two connections that are taken: a crowd of them has the oldest hung up on, and a scrape is to have its answer first."""

MOST_CONNECTIONS = 32
MOST_HEAD_BYTES = 16 * 1024
"""Of a request's head: a scraper's has some hundred."""

WAITING = 1024
"""Connections that the kernel keeps until they are taken. By default there are five, and further ones wait for seconds."""

log = logging.getLogger(__name__)

Application = Callable[..., Any]
"""Of WSGI; it is called in the server's thread."""


class MetricsServer:
    """Serves from `start` to `stop`."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._serving: tuple[_Server, threading.Thread] | None = None

    def start(self, host: str, port: int) -> int:
        """The port. Raises OSError when the address can't be listened on."""
        server = _Server(host, port, self._application)
        thread = threading.Thread(target=server.serve, name="metrics", daemon=True)
        self._serving = server, thread
        thread.start()
        return server.port

    def listen(self, address: str, variable: str) -> int:
        """`start` at host:port, which comes from that environment variable. Raises OSError with a sentence that names both."""
        host, _, port = address.rpartition(":")
        try:
            return self.start(host.strip("[]"), int(port))
        except OSError as error:
            raise OSError(f"metrics can't be served at {address} ({variable}): {error.strerror or error}") from error

    async def stop(self) -> None:
        """Whoever is being answered may lose the answer."""
        if self._serving is not None:
            server, thread = self._serving
            server.end()
            await asyncio.to_thread(thread.join)


class _Handler(WSGIRequestHandler):
    """One request, whose head has come as a whole."""

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes come every few seconds: nobody wants to read of them."""


class _Both:
    """What the library takes for a connection: it reads the head there, and what it writes is the answer."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self.answer = b""

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._head)

    def sendall(self, data: bytes) -> None:
        self.answer += data


class Answers:
    """To whole heads of requests."""

    def __init__(self, host: str, port: int, application: Application) -> None:
        names = {"SERVER_NAME": host, "SERVER_PORT": str(port), "GATEWAY_INTERFACE": "CGI/1.1"}
        nothing = dict.fromkeys(("REMOTE_HOST", "CONTENT_LENGTH", "SCRIPT_NAME"), "")
        self._server: Any = SimpleNamespace(base_environ=names | nothing, get_app=lambda: application)

    def to(self, head: bytes, address: tuple[str, int]) -> bytes:
        both: Any = _Both(head)
        _Handler(both, address, self._server)
        answer: bytes = both.answer
        return answer


@dataclass(slots=True, eq=False)
class _Connection:
    """Until its head is whole it is read, and then written to."""

    sock: socket.socket
    address: tuple[str, int]
    ends: float
    head: bytearray = field(default_factory=bytearray)
    left: memoryview = field(default_factory=lambda: memoryview(b""))

    def go_on(self, answers: Answers) -> int:
        """As far as there is something to read, or room to write: the event to wait for, 0 at the end. Raises OSError."""
        if not self.left:
            data = self.sock.recv(MOST_HEAD_BYTES)
            self.head += data
            if b"\n\r\n" not in self.head and b"\n\n" not in self.head:
                return EVENT_READ if data and len(self.head) < MOST_HEAD_BYTES else 0
            self.left = memoryview(answers.to(bytes(self.head), self.address))
        with contextlib.suppress(BlockingIOError):
            self.left = self.left[self.sock.send(self.left) :]
        return EVENT_WRITE if self.left else 0


class _Server:
    def __init__(self, host: str, port: int, application: Application) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        self._listening = socket.create_server(address[:2], family=family, backlog=WAITING, dualstack_ipv6=both)
        self._listening.setblocking(False)
        self.port = int(self._listening.getsockname()[1])
        self._answers = Answers(str(address[0]), self.port, application)
        self._open: dict[_Connection, None] = {}
        """The oldest first."""
        self._selector = selectors.DefaultSelector()
        self._ends, self._end = socket.socketpair()

    def serve(self) -> None:
        """Until `end`."""
        with self._ends, self._listening, self._selector as selector:
            came = selector.register(self._listening, EVENT_READ)
            told = selector.register(self._ends, EVENT_READ)
            while told not in (ready := {key for key, _ in selector.select(self._until_next_end())}):
                for key in ready - {came}:
                    self._go_on(key.data)
                self._hang_up_old()
                if came in ready:
                    self._take()
            for connection in list(self._open):
                self._hang_up(connection)

    def end(self) -> None:
        """Have `serve` return."""
        self._end.close()

    def _until_next_end(self) -> float | None:
        oldest = next(iter(self._open), None)
        return None if oldest is None else max(0.0, oldest.ends - time.monotonic())

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # It has gone again.
            sock, address = self._listening.accept()
            sock.setblocking(False)
            if len(self._open) >= MOST_CONNECTIONS:
                self._hang_up(next(iter(self._open)))
            connection = _Connection(sock, address, time.monotonic() + LIFE_SECONDS)
            self._open[connection] = None
            self._selector.register(sock, EVENT_READ, connection)
        time.sleep(PACE_SECONDS)

    def _go_on(self, connection: _Connection) -> None:
        try:
            event = connection.go_on(self._answers)
        except BlockingIOError:
            return
        except OSError:  # Who hangs up early is no error.
            event = 0
        except Exception:
            log.debug("a request for metrics can't be answered", exc_info=True)
            event = 0
        if event:
            self._selector.modify(connection.sock, event, connection)
        else:
            self._hang_up(connection)

    def _hang_up_old(self) -> None:
        while self._until_next_end() == 0.0:
            self._hang_up(next(iter(self._open)))

    def _hang_up(self, connection: _Connection) -> None:
        del self._open[connection]
        self._selector.unregister(connection.sock)
        with connection.sock, contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
