"""Somebody who is asked who may do what, as an API server is: it answers reviews over HTTP on loopback by a list of rights.

What a real one answers, tests/integration/operator/test_reviews.py says.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from snakepit_control_plane.policy.rights import Right


@dataclass
class Reviewer:
    """`given`: (subject, right as text), and on what where it is not on everything. `asked`: the spec of each review, `paths`: its path.

    While `answers` isn't set, it answers nobody. `connections`: how many were opened; `hangs_up`: it does after each answer, and says so
    to nobody. `status`: of its answers.
    """

    url: str = ""
    given: set[tuple[str, str, str]] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)
    connections: int = 0
    hangs_up: bool = False
    status: int = 201

    def give(self, subject: str, *rights: Right, on: str = "") -> None:
        self.given |= {(subject, str(right), on) for right in rights}

    def take(self, subject: str, *rights: Right, on: str = "") -> None:
        self.given -= {(subject, str(right), on) for right in rights}


@contextlib.contextmanager
def reviewer(tls: ssl.SSLContext | None = None) -> Iterator[Reviewer]:
    """One that serves."""
    serving = Reviewer()
    serving.answers.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            serving.connections += 1

        def do_POST(self) -> None:
            spec = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]
            serving.asked.append(spec)
            serving.paths.append(self.path)
            serving.answers.wait(20)
            what = spec["resourceAttributes"]
            right = Right(what["verb"], what["subresource"], what["resource"], what["group"])
            allowed = any((spec["user"], str(right), each) in serving.given for each in ("", f"{what['namespace']}/{what['name']}"))
            said = json.dumps({"status": {"allowed": allowed}}).encode()
            self.send_response(serving.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            self.close_connection = serving.hangs_up

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    serving.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield serving
    finally:
        serving.answers.set()
        server.shutdown()
        server.server_close()
