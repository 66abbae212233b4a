"""/metrics for Prometheus: prometheus_client's application, in the standard library's server as prometheus_client's own, but with bounds.

That one gives each connection a thread for as long as its peer likes, and lets five wait for one. Here a connection has an end, and there
are at most so many: with one more, the oldest is hung up on. While there is none, nothing wakes up: every pod has such a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

CLIENT_SECONDS = 5.0
"""Who says or takes nothing for so long is hung up on."""

LIFE_SECONDS = 15.0
"""After so long a connection is hung up, whatever it does."""

POLL_SECONDS = 0.1
"""How long a connection that is too old may go unnoticed."""

PACE_SECONDS = 0.005
"""Between two connections that are taken. Each is a new thread, and a crowd of them kept the program's loop waiting 15 ms. With twelve
places each has 60 ms before a crowd has it hung up on."""

MOST_CONNECTIONS = 12
"""Each has a thread, and what comes on many at once has many threads take turns with the program's own work. A few scrapers have room."""

Application = Callable[..., Any]
"""Of WSGI; it is called in a thread of the request's own."""


class MetricsServer:
    """Serves from `start` to `stop`, with so many connections at `most`, each of which takes a thread."""

    def __init__(self, application: Application, most: int = MOST_CONNECTIONS) -> None:
        self._application, self._most = application, most
        self._serving: tuple[_Server, threading.Thread] | None = None

    def start(self, host: str, port: int) -> int:
        """The port. Raises OSError when the address can't be listened on."""
        server = _Server(host, port, self._most)
        server.set_app(self._application)
        thread = threading.Thread(target=server.serve, name="metrics", daemon=True)
        self._serving = server, thread
        thread.start()
        return int(server.server_address[1])

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
            server.server_close()
            server.hang_up(0)


class Handler(WSGIRequestHandler):
    """One connection."""

    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes come every few seconds: nobody wants to read of them."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    # Five by default: the kernel would let further ones wait for seconds.
    request_queue_size = 1024
    # Of `handle_request`: who is there has been seen already, or has gone again.
    timeout = 0

    def __init__(self, host: str, port: int, most: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        # By age, with the time when each came. The thread that accepts looks at them, and each connection's own takes it out.
        self._open: dict[socket.socket, float] = {}
        self._lock, self._most = threading.Lock(), most
        super().__init__(address[:2], Handler)  # type: ignore[arg-type]  # typeshed knows IPv4 only
        self._ends, self._end = socket.socketpair()

    def server_bind(self) -> None:
        """Bind without HTTPServer's question to the DNS, which may take seconds."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = time.monotonic()
        self.hang_up(self._most)
        super().process_request(request, client_address)

    def serve(self) -> None:
        """Until `end`. The library's own loop wakes up twice a second, whether there is anything to do or not."""
        with self._ends, selectors.DefaultSelector() as selector:
            came = selector.register(self, selectors.EVENT_READ)
            told = selector.register(self._ends, selectors.EVENT_READ)
            while told not in (ready := {key for key, _ in selector.select(POLL_SECONDS if self._open else None)}):
                if came in ready:
                    self.handle_request()
                    time.sleep(PACE_SECONDS)
                self.hang_up(self._most)

    def end(self) -> None:
        """Have `serve` return."""
        self._end.close()

    def hang_up(self, most: int) -> None:
        """On the oldest that are too many or too old. The thread of each, which waits for it, sees the end, and closes it."""
        with self._lock:
            for request, came in list(self._open.items()):
                if len(self._open) <= most and came >= time.monotonic() - LIFE_SECONDS:
                    break
                del self._open[request]
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up early is no error."""
