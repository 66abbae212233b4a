"""What goes on, for a person with a browser."""

from __future__ import annotations

from starlette.routing import BaseRoute

from snakepit_gateway.gateway import Gateway


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers."""
    return []
