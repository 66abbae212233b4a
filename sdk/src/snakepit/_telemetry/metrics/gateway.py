"""What a gateway tells. Each counts what it does itself: sum over replicas. Pure.

Metrics that begin with `http_` have names and labels of OpenTelemetry's semantic conventions, in Prometheus' spelling: all that these
require, and none that says the same for each request of a gateway.
"""

from __future__ import annotations

from snakepit._telemetry.metrics.row import OTHER, Metric

_US = ("gateway",)

HTTP_METHODS = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "_OTHER")
SCHEMES = ("http", "https")
MCP_METHODS = ("initialize", "ping", "server/discover", "subscriptions/listen", "tools/call", "tools/list", OTHER)
"""Those that are served here; what isn't may have any name."""

REQUEST_DURATION = Metric(
    "http_server_request_duration_seconds",
    "histogram",
    "From a request's headers to the end of its answer, however long that streams. "
    "`http_route`: the path's template, or empty where nothing is served, or a request is refused before its path is looked at. "
    "`http_request_method`: `_OTHER` for one that HTTP has not. "
    "`http_response_status_code`: 499 where the caller hung up before there was an answer. "
    "`error_type`: the status again, from 500 on.",
    _US,
    ("http_request_method", "url_scheme", "http_route", "http_response_status_code", "error_type"),
    "seconds",
    values={"http_request_method": HTTP_METHODS, "url_scheme": SCHEMES},
)
ACTIVE_REQUESTS = Metric(
    "http_server_active_requests",
    "gauge",
    "Requests that have no whole answer yet.",
    _US,
    ("http_request_method", "url_scheme"),
    values={"http_request_method": HTTP_METHODS, "url_scheme": SCHEMES},
)
HELD_BYTES = Metric(
    "snakepit_gateway_held_bytes", "gauge", "Room that large bodies of requests take, of SNAKEPIT_GATEWAY_MAX_HELD_BYTES.", _US, (), "bytes"
)
STREAMS = Metric(
    "snakepit_gateway_streams",
    "gauge",
    "Answers that come bit by bit. `kind`: sse and ndjson of calls; mcp, of clients that listen for changes; console, of open pages.",
    _US,
    ("kind",),
    values={"kind": ("sse", "ndjson", "mcp", "console")},
)
MCP_REQUESTS = Metric(
    "snakepit_gateway_mcp_requests_total",
    "counter",
    "Requests of MCP that were answered. `method`: the protocol's, `other` for one that it has not. "
    "`outcome`: OK, TOOL_ERROR for a result that says so, or ERROR.",
    _US,
    ("method", "outcome"),
    values={"method": MCP_METHODS, "outcome": ("OK", "TOOL_ERROR", "ERROR")},
)
