"""What went wrong, as RFC 9457 has it: a problem, with the error's reason, whether the tool may have started, and its details.

Statuses are those of the one table in snakepit.errors; what only HTTP knows has a row here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from snakepit.errors import PermissionDenied, SnakepitError, Started, Status, ToolError, Unauthenticated

MEDIA_TYPE = "application/problem+json"
REALM = 'Bearer realm="snakepit"'


class PathNotFound(SnakepitError, reason="PATH_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO):
    """Nothing is served there."""


class KeyNotFound(SnakepitError, reason="KEY_NOT_FOUND", status=Status.NOT_FOUND, started=Started.NO):
    """The session's state has no such key."""


class MethodNotAllowed(SnakepitError, reason="METHOD_NOT_ALLOWED", status=Status.INVALID_ARGUMENT, http=405, started=Started.NO):
    """`Allow` has the methods that are."""


class PreconditionFailed(SnakepitError, reason="PRECONDITION_FAILED", status=Status.FAILED_PRECONDITION, http=412, started=Started.NO):
    """The value has another version than `If-Match` or `If-None-Match` says."""


class UnsupportedMediaType(SnakepitError, reason="UNSUPPORTED_MEDIA_TYPE", status=Status.INVALID_ARGUMENT, http=415, started=Started.NO):
    """The body's Content-Type is none that is read there."""


class RequestTimeout(SnakepitError, reason="REQUEST_TIMEOUT", status=Status.DEADLINE_EXCEEDED, http=408, started=Started.NO):
    """Its body comes too slowly."""


class HeadersTooLarge(SnakepitError, reason="HEADERS_TOO_LARGE", status=Status.RESOURCE_EXHAUSTED, http=431, started=Started.NO):
    """The headers are over their limit: `details["limit"]` names it, `details["bytes"]` is its value."""


class ForeignOrigin(SnakepitError, reason="FOREIGN_ORIGIN", status=Status.PERMISSION_DENIED, started=Started.NO):
    """A page of another site asks, or one that calls a gateway on loopback by another name than its own."""


class GatewayFull(SnakepitError, reason="GATEWAY_FULL", status=Status.UNAVAILABLE, started=Started.NO):
    """As many requests run as may, or bodies hold as many bytes as may (a large one has waited for room); `details["limit"]` names the
    limit."""


OF_HTTP = (
    PathNotFound,
    KeyNotFound,
    MethodNotAllowed,
    PreconditionFailed,
    UnsupportedMediaType,
    RequestTimeout,
    HeadersTooLarge,
    ForeignOrigin,
    GatewayFull,
)
"""Rows that docs/errors.md has not: no call gets so far."""


def as_json(error: SnakepitError) -> dict[str, Any]:
    """The problem itself."""
    problem = {
        "type": f"urn:snakepit:error:{error.reason}",
        "title": error.reason.replace("_", " ").capitalize(),
        "status": error.http,
        "detail": str(error),
        "reason": error.reason,
        "started": error.started,
        "details": dict(error.details),
    }
    if error.retry_after is not None:
        problem["retryAfter"] = error.retry_after
    if isinstance(error, ToolError):
        problem.update(errorType=error.type, traceback=error.traceback)
    return problem


def headers(error: SnakepitError, *, token: bool = False) -> dict[str, str]:
    """Those that belong to it. `token`: the request had one (RFC 6750)."""
    made: dict[str, str] = {}
    if error.retry_after is not None:
        made["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, Unauthenticated):
        made["WWW-Authenticate"] = f'{REALM}, error="invalid_token"' if token else REALM
    elif isinstance(error, PermissionDenied):
        made["WWW-Authenticate"] = f'{REALM}, error="insufficient_scope"'
    return made


def problem(error: SnakepitError, *, token: bool = False, also: Mapping[str, str] | None = None) -> Response:
    """The answer that says it. `also`: more headers."""
    made = {**headers(error, token=token), **(also or {})}
    return Response(msgspec.json.encode(as_json(error)), error.http, made, MEDIA_TYPE)


def of_request(request: Request, error: Exception) -> Response:
    """For Starlette: of whatever a room lets through."""
    assert isinstance(error, SnakepitError)
    return problem(error, token="authorization" in request.headers)
