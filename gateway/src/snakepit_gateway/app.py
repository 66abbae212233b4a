"""The ASGI application: the rooms side by side, over one client that is open while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from snakepit import Client
from snakepit_gateway import console, http, mcp
from snakepit_gateway.callers import Callers
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.settings import Settings


def make_app(settings: Settings, client: Client) -> Starlette:
    """`client` is not open yet: the application opens and closes it."""
    gateway = Gateway(client, Callers(client), settings)
    rooms = [http, *([mcp] if settings.mcp else []), *([console] if settings.console else [])]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(client)
            for room in rooms:
                if hasattr(room, "lifespan"):
                    await stack.enter_async_context(room.lifespan(gateway))
            yield

    routes = [*_probes(client), *(route for room in rooms for route in room.routes(gateway))]
    return Starlette(routes=routes, lifespan=lifespan)


def _probes(client: Client) -> list[BaseRoute]:
    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if client.links:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"no link to a control plane at {client.server}\n", 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
