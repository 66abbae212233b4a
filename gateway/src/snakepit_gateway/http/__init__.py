"""Tools, sessions, pools and their description over plain HTTP."""

from __future__ import annotations

from starlette.routing import BaseRoute

from snakepit_gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers."""
    return []
