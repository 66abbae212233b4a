"""Tools, sessions, pools and their description over plain HTTP."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http.pools import Pools
from snakepit_gateway.http.sessions import Sessions
from snakepit_gateway.http.tools import Tools

POOL = "/v1/pools/{namespace}/{pool}"


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers. The first is the one that must be quick."""
    pools, sessions = Pools(gateway), Sessions(gateway)
    state = f"{POOL}/sessions/{{session}}/state"
    return [
        Route(f"{POOL}/tools/{{tool}}", Tools(gateway, pools.tool), methods=["GET", "POST"]),
        Route(f"{POOL}/tools", pools.tools),
        Route(f"{POOL}/workers", pools.workers),
        Route(f"{POOL}/openapi.json", pools.openapi),
        Route(f"{POOL}/sessions", sessions.list),
        Route(f"{POOL}/sessions/{{session}}", sessions.one, methods=["GET", "PUT", "DELETE"]),
        Route(state, sessions.keys),
        Route(f"{state}/{{key:path}}", sessions.value, methods=["GET", "PUT", "DELETE"]),
        Route(POOL, pools.pool),
        Route("/v1/pools", pools.list),
        Route("/v1/whoami", pools.whoami),
    ]
