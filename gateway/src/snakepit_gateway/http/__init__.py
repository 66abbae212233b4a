"""Tools, sessions, pools and their description over plain HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.routing import BaseRoute, Route

from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http import served
from snakepit_gateway.http.pools import Pools
from snakepit_gateway.http.sessions import Sessions
from snakepit_gateway.http.tools import Tools


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers. A key of a session's state may have slashes."""
    answers = _answers(gateway)
    return [Route(path.replace("{key}", "{key:path}"), answers[path], methods=[*methods]) for path, methods in served.PATHS.items()]


def _answers(gateway: Gateway) -> Mapping[str, Callable[..., Any]]:
    pools, sessions = Pools(gateway), Sessions(gateway)
    return {
        served.TOOL: Tools(gateway, pools.tool),
        served.TOOLS: pools.tools,
        served.SESSIONS: sessions.list,
        served.SESSION: sessions.one,
        served.STATE: sessions.keys,
        served.VALUE: sessions.value,
        served.POOL: pools.pool,
        served.WORKERS: pools.workers,
        served.OPENAPI: pools.openapi,
        served.POOLS: pools.list,
        served.WHOAMI: pools.whoami,
    }
