"""HTTP probes and metrics: /livez (the loop turns), /readyz (calls may be sent here), /startz (the start is over), /metrics (Prometheus).

The standard library's server in threads of its own; what is answered is worked out on the event loop, whose state it is. Probes may have
a port of their own, where whoever floods the metrics' port keeps nobody waiting. On each port, whoever comes is let in: the oldest
connection is hung up for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from snakepit_control_plane.flow.dispatcher import Dispatcher

ANSWER_SECONDS = 2.0
"""A loop that gives no answer for so long does not turn."""

CLIENT_SECONDS = 5.0
"""Who says or takes nothing for so long is hung up on."""

LIFE_SECONDS = 15.0
"""After so long a connection is hung up, whatever it does."""

POLL_SECONDS = 0.1
"""How long a stop may take to be noticed, and a connection that is too old."""

MOST_CONNECTIONS = 64
"""On one port; with one more, the oldest is hung up on."""

PROBES = ("/livez", "/readyz", "/startz")
METRICS = "/metrics"

START_SECONDS = 12.0
"""/startz waits so long for calls to be welcome, and then says no more than /livez: a probe that fails is a Warning event."""

OK = "200 OK"

Answer = tuple[str, bytes]
"""Status line, and what it says."""


class HttpServer:
    """Serves from `start` to `stop`. `not_ready` says why calls should go elsewhere; empty when they may come."""

    def __init__(self, router: Dispatcher, not_ready: Callable[[], str]) -> None:
        self._router = router
        self._not_ready = not_ready
        self._loop = asyncio.get_running_loop()
        self._servers: list[_Server] = []

    def start(self, host: str, port: int, paths: Sequence[str] = (*PROBES, METRICS)) -> int:
        """Serve these on one more port, which is returned. Raises OSError when the address can't be listened on."""
        server = _Server(host, port)
        server.set_app(partial(self._application, paths))
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True).start()
        return int(server.server_address[1])

    async def stop(self) -> None:
        """Whoever is being answered may lose the answer."""
        servers, self._servers = self._servers, []
        for server in servers:
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            await asyncio.to_thread(server.hang_up_all)

    def _application(self, paths: Sequence[str], environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """WSGI, in a thread of the request's."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"use GET\n"
        elif path in paths:
            if path == "/startz":
                self._wait_until_ready()
            status, body = self._ask(path)
        else:
            status, body = "404 Not Found", f"there are {', '.join(paths)}\n".encode()
        kind = "text/plain; version=0.0.4; charset=utf-8" if path == METRICS else "text/plain; charset=utf-8"
        start_response(status, [("Allow", "GET, HEAD"), ("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [] if method == "HEAD" else [body]

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while self._servers and self._ask("/readyz")[0] != OK and time.monotonic() < until:
            time.sleep(POLL_SECONDS)

    def _ask(self, path: str) -> Answer:
        answer: concurrent.futures.Future[Answer] = concurrent.futures.Future()

        def work() -> None:
            try:
                answer.set_result(self._answer(path))
            except Exception as error:
                answer.set_exception(error)

        with contextlib.suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(work)
        if concurrent.futures.wait((answer,), ANSWER_SECONDS).done:
            return answer.result()
        return "503 Service Unavailable", b"the event loop does not turn\n"

    def _answer(self, path: str) -> Answer:
        if path in ("/livez", "/startz"):
            return OK, b"ok\n"
        if path == "/readyz":
            why = self._not_ready()
            return ("503 Service Unavailable", f"{why}\n".encode()) if why else (OK, b"ok\n")
        _set_gauges(self._router)
        return OK, self._router.telemetry.render()


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every few seconds: nobody wants to read of them."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Five by default: the kernel would let further ones wait for seconds.
    request_queue_size = 1024
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        # By age, with the time when each came. The thread that accepts looks at them, and each connection's own takes it out.
        self._open: dict[socket.socket, float] = {}
        self._unclosed = 0
        self._lock = threading.Lock()
        self._closed = threading.Condition(self._lock)
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # typeshed knows IPv4 only

    def server_bind(self) -> None:
        """Without HTTPServer's question to the DNS, which may take seconds."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[request] = time.monotonic()
            self._unclosed += 1
            if len(self._open) > MOST_CONNECTIONS:
                self._hang_up(next(iter(self._open)))
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """After each POLL_SECONDS, or each connection that came."""
        oldest = time.monotonic() - LIFE_SECONDS
        with self._lock:
            for request in [request for request, came in self._open.items() if came < oldest]:
                self._hang_up(request)

    def hang_up_all(self) -> None:
        """Nothing more is accepted; those that are being answered have a moment."""
        with self._lock:
            for request in list(self._open):
                self._hang_up(request)
            self._closed.wait_for(lambda: not self._unclosed, ANSWER_SECONDS)

    def _hang_up(self, request: socket.socket) -> None:
        """Its thread, which waits for it, sees the end, and closes it."""
        del self._open[request]
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)
            self._unclosed -= 1
            self._closed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up early is no error."""


def _set_gauges(router: Dispatcher) -> None:
    """Gauges are read off the pools when somebody asks, not kept on the path of calls."""
    telemetry = router.telemetry
    telemetry.tasks.set(len(asyncio.all_tasks(router.loop)))
    for gauge in (telemetry.depth, telemetry.slots, telemetry.workers, telemetry.sessions, telemetry.most_sessions):
        gauge.clear()
    for name, pool in router.pools.items():
        state = pool.describe()
        telemetry.depth.labels(name).set(state.queue_depth)
        telemetry.workers.labels(name).set(state.ready_workers)
        telemetry.slots.labels(name, "busy").set(state.busy_slots)
        telemetry.slots.labels(name, "free").set(state.total_slots - state.busy_slots)
        telemetry.sessions.labels(name).set(state.sessions)
        telemetry.most_sessions.labels(name).set(pool.spec.session.max_sessions)
