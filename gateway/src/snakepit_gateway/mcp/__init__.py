"""A pool's tools for clients of the Model Context Protocol."""

from __future__ import annotations

from functools import partial

from starlette.routing import BaseRoute, Route

from snakepit_gateway.gateway import Gateway
from snakepit_gateway.mcp import metadata
from snakepit_gateway.mcp.endpoint import Endpoint

PATH = "/mcp/{namespace}/{pool}"


def routes(gateway: Gateway) -> list[BaseRoute]:
    """What it answers."""
    return [Route(PATH, Endpoint(gateway)), Route(f"{metadata.PREFIX}{PATH}", partial(metadata.answer, gateway))]
