"""What went wrong, as RFC 9457 has it: a problem, with the error's reason, whether the tool may have started, and its details."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from snakepit.errors import SnakepitError

MEDIA_TYPE = "application/problem+json"


def problem(error: SnakepitError, status: int = 500) -> Response:
    """The answer that says it."""
    body = {"title": type(error).__name__, "status": status, "detail": str(error), "reason": error.reason, "started": error.started}
    return Response(msgspec.json.encode({**body, "details": dict(error.details)}), status, media_type=MEDIA_TYPE)
