"""Somebody who is asked who may do what, as an API server is: it answers reviews over HTTP on loopback by a list of rights.

What a real one answers, tests/integration/operator/test_reviews.py says.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from snakepit_control_plane.policy.rights import Right


@dataclass
class Reviewer:
    """`given`: (subject, right as text), and on what where it is not on everything. `asked`: the spec of each review.

    While `answers` isn't set, it answers nobody.
    """

    url: str = ""
    given: set[tuple[str, str, str]] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    answers: threading.Event = field(default_factory=threading.Event)

    def give(self, subject: str, *rights: Right, on: str = "") -> None:
        self.given |= {(subject, str(right), on) for right in rights}

    def take(self, subject: str, *rights: Right, on: str = "") -> None:
        self.given -= {(subject, str(right), on) for right in rights}


@contextlib.contextmanager
def reviewer() -> Iterator[Reviewer]:
    """One that serves."""
    serving = Reviewer()
    serving.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            spec = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]
            serving.asked.append(spec)
            serving.answers.wait(20)
            what = spec["resourceAttributes"]
            right = Right(what["verb"], what["subresource"], what["resource"], what["group"])
            allowed = any((spec["user"], str(right), each) in serving.given for each in ("", f"{what['namespace']}/{what['name']}"))
            self.send_response(201)
            self.end_headers()
            self.wfile.write(json.dumps({"status": {"allowed": allowed}}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield serving
    finally:
        serving.answers.set()
        server.shutdown()
        server.server_close()
