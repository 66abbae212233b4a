"""What RFC 9728 wants a resource server to say: who gives tokens for it, and where that is written."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from snakepit.errors import Unauthenticated
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.problems import headers, problem

PREFIX = "/.well-known/oauth-protected-resource"


def answer(gateway: Gateway, request: Request) -> Response:
    """Of one pool. The authorization servers are those of the settings; without any, tokens are got as the platform says."""
    servers = list(gateway.settings.authorization_servers)
    name = "{namespace}/{pool}".format_map(request.path_params)
    body = {
        "resource": f"{_base(request)}/mcp/{name}",
        "resource_name": name,
        "bearer_methods_supported": ["header"],
        **({"authorization_servers": servers} if servers else {}),
    }
    return JSONResponse(body, headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"})


def challenge(request: Request, error: Unauthenticated) -> Response:
    """401, and where to look."""
    token = "authorization" in request.headers
    where = f'resource_metadata="{_base(request)}{PREFIX}{request.url.path}"'
    return problem(error, also={"WWW-Authenticate": f"{headers(error, token=token)['WWW-Authenticate']}, {where}"})


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
