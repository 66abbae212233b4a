"""HTTP probes and metrics: /livez (the loop turns), /readyz (calls may be sent here), /startz (the start is over), /metrics (Prometheus).

The standard library's server in threads of its own; what is answered is worked out on the event loop, whose state it is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from snakepit_control_plane.router.pools import Router

ANSWER_SECONDS = 2.0
"""A loop that gives no answer for so long does not turn."""

CLIENT_SECONDS = 5.0
"""Who says or takes nothing for so long is hung up on."""

POLL_SECONDS = 0.1
"""How long a stop may take to be noticed."""

MOST_CONNECTIONS = 32
"""With one more, who came is hung up on."""

START_SECONDS = 12.0
"""/startz waits so long for calls to be welcome, and then says no more than /livez: a probe that fails is a Warning event."""

OK = "200 OK"

Answer = tuple[str, bytes]
"""Status line, and what it says."""


class HttpServer:
    """Serves from `start` to `stop`. `not_ready` says why calls should go elsewhere; empty when they may come."""

    def __init__(self, router: Router, not_ready: Callable[[], str]) -> None:
        self._router = router
        self._not_ready = not_ready
        self._loop = asyncio.get_running_loop()
        self._server: _Server | None = None
        self.port = 0

    def start(self, host: str, port: int) -> None:
        """Raises OSError when the address can't be listened on."""
        self._server = _Server(host, port)
        self._server.set_app(self._application)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True).start()

    async def stop(self) -> None:
        """Whoever is being answered may lose the answer."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()
            self._server = None

    def _application(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """WSGI, in a thread of the request's."""
        if environ["PATH_INFO"] == "/startz":
            self._wait_until_ready()
        status, body = self._ask(environ["PATH_INFO"])
        kind = "text/plain; version=0.0.4; charset=utf-8" if environ["PATH_INFO"] == "/metrics" else "text/plain; charset=utf-8"
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while self._ask("/readyz")[0] != OK and time.monotonic() < until:
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
        if path == "/metrics":
            _set_gauges(self._router)
            return OK, self._router.telemetry.render()
        return "404 Not Found", b"there are /livez, /readyz, /startz and /metrics\n"


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Probes come every few seconds: nobody wants to read of them."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # typeshed knows IPv4 only

    def server_bind(self) -> None:
        """Without HTTPServer's question to the DNS, which may take seconds."""
        TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), port
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up early is no error."""


def _set_gauges(router: Router) -> None:
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
