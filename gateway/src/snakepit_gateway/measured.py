"""How long each request took, by its route: the outermost of what every request goes through."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from snakepit_gateway.telemetry import Telemetry, known_method

HUNG_UP = 499
"""Nobody was there for an answer any more. It is nginx's number; HTTP has none."""

FAILED = 500
"""From this status on it is the gateway's failure, or of what is behind it."""


class Measured:
    """ASGI. A route's path is its template, so that there are as many series as routes."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app, self._telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, began, status = known_method(scope["method"]), time.monotonic(), HUNG_UP
        scheme = scope.get("scheme", "http")

        async def write(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._telemetry.active.add(method, scheme)
        try:
            await self._app(scope, receive, write)
        finally:
            self._telemetry.active.add(method, scheme, by=-1)
            route = getattr(scope.get("route"), "path", "")
            failed = str(status) if status >= FAILED else ""
            self._telemetry.requests.observe(time.monotonic() - began, method, scheme, route, str(status), failed)
