"""The gateway's own spans: around each request of /v1 and /mcp, and around each call of MCP. What a request does belongs under them.

Where this process doesn't trace, a caller's trace is passed on as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from snakepit._telemetry import spans, tracing
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE, carried
from snakepit._telemetry.span import Span
from snakepit._telemetry.traceparent import NOT_SAMPLED, parse
from snakepit_gateway.telemetry import known_method

TRACEPARENT = b"traceparent"
_TRACED = ("/v1/", "/mcp/")
"""Probes and the console's pages would be the most of all traces."""


class Traced:
    """ASGI, where the process traces: a span around each request, which the header `traceparent` then names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_TRACED):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        method = known_method(scope["method"])
        given = well_formed(headers.get(TRACEPARENT, b"").decode("latin-1").strip())
        if not given and tracing.passes_over():
            span, within = None, NOT_SAMPLED
        else:
            span = tracing.start_span(method, given, kind="server", tracestate=headers.get(TRACESTATE.encode(), b"").decode("latin-1"))
            within = given if span is None else span.traceparent
        others = [(name, value) for name, value in scope["headers"] if name != TRACEPARENT]
        scope["headers"] = [*others, (TRACEPARENT, within.encode())]
        await (self._app(scope, receive, send) if span is None else self._within(span, method, scope, receive, send))

    async def _within(self, span: Span, method: str, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def write(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, write)
        except ClientDisconnect:
            raise
        except Exception:
            status = status or 500
            raise
        finally:
            _end(span, method, scope, status)


def _end(span: Span, method: str, scope: Scope, status: int) -> None:
    """`status` 0: it was never answered, as whoever asked has hung up."""
    route = getattr(scope.get("route"), "path", "")
    said: dict[str, str | int] = {spans.HTTP_METHOD: method, spans.URL_PATH: scope["path"], spans.URL_SCHEME: scope["scheme"]}
    if route:
        span.rename(f"{method} {route}")
        said[spans.HTTP_ROUTE] = route
    if status:
        said[spans.HTTP_STATUS] = status
    span.set(said)
    span.end(str(status) if status >= 500 else "")


def well_formed(traceparent: Any) -> str:
    """As it came from a stranger; empty: that is none."""
    return traceparent if isinstance(traceparent, str) and parse(traceparent) else ""


def passed_on(traceparent: str) -> str:
    """What a request's header says of the call; empty: nothing."""
    return traceparent if traceparent == NOT_SAMPLED else well_formed(traceparent)


def of_http(headers: Mapping[str, str]) -> tuple[str, str]:
    """The trace that a request is part of, and its `tracestate`; empty: none."""
    traceparent = passed_on(headers.get(TRACEPARENT.decode(), ""))
    return traceparent, carried(headers.items(), traceparent).get(TRACESTATE, "")


def of_mcp(meta: Mapping[str, Any] | None, header: str) -> str:
    """The trace that a request by MCP is part of: as its `_meta` says, or what carries it; empty: none."""
    return well_formed((meta or {}).get("traceparent")) or passed_on(header)


def carried_by_mcp(meta: Mapping[str, Any] | None, headers: Mapping[str, str]) -> dict[str, str]:
    """What goes along with that trace, for the call's metadata: of `_meta` where that says something of it, else of what carries it."""
    own = {name: value for name in (TRACEPARENT.decode(), TRACESTATE, BAGGAGE) if (value := (meta or {}).get(name))}
    said: Mapping[str, Any] = own or headers
    given = said.get(TRACEPARENT.decode(), "")
    return carried(said.items(), well_formed(given))


def begin_mcp(tool: str, pool: str, request: object, parent: str, state: str) -> Span | None:
    """Around a call by MCP; None: it isn't traced here."""
    if not tracing.enabled():
        return None
    about = {
        spans.MCP_METHOD: "tools/call",
        spans.MCP_REQUEST: str(request),
        spans.GEN_AI_OPERATION: "execute_tool",
        spans.GEN_AI_TOOL: tool,
        spans.POOL: pool,
    }
    return tracing.start_span(f"tools/call {tool}", parent, about, kind="server", tracestate=state)
