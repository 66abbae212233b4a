"""The ASGI application: the rooms side by side, over one client that is open while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from snakepit import Client
from snakepit._telemetry import tracing
from snakepit._telemetry.metrics import otlp
from snakepit._telemetry.metrics_server import MetricsServer
from snakepit.errors import SnakepitError
from snakepit_gateway import console, http, mcp
from snakepit_gateway.bounds import Bounds
from snakepit_gateway.callers import Callers
from snakepit_gateway.gateway import Gateway
from snakepit_gateway.http import served
from snakepit_gateway.measured import Measured
from snakepit_gateway.problems import MethodNotAllowed, PathNotFound, of_request, problem
from snakepit_gateway.room import Room
from snakepit_gateway.settings import Settings
from snakepit_gateway.traces import Traced


def make_app(settings: Settings, client: Client) -> Starlette:
    """`client` is not open yet: the application opens and closes it. `app.state.gateway` is what the rooms share.

    `app.state.metrics` listens where it is told to; the application ends it.
    """
    gateway, bodies = Gateway(client, Callers(client), settings), Room(settings.max_held_bytes)
    metrics = MetricsServer(gateway.telemetry.registry.application())
    rooms = [http, *([mcp] if settings.mcp else []), *([console] if settings.console else [])]

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        gateway.telemetry.watch(asyncio.get_running_loop(), lambda: bodies.held)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(metrics.stop)
            stack.push_async_callback(otlp.begin(gateway.telemetry.registry, "snakepit-gateway").stop)
            await stack.enter_async_context(client)
            for each in gateway.beside:
                await stack.enter_async_context(each())
            yield

    app = Starlette(
        routes=[*(route for room in rooms for route in room.routes(gateway)), *_probes(gateway)],
        middleware=[
            Middleware(Measured, telemetry=gateway.telemetry),
            *_cors(settings),
            Middleware(Bounds, settings=settings, room=bodies),
            *([Middleware(Traced)] if tracing.enabled() else []),
        ],
        exception_handlers={SnakepitError: of_request, HTTPException: _of_starlette},
        lifespan=lifespan,
    )
    app.state.gateway, app.state.metrics = gateway, metrics
    return app


def _cors(settings: Settings) -> list[Middleware]:
    """Nothing until origins are listed."""
    if not settings.cors_origins:
        return []
    methods = ("GET", "POST", "PUT", "DELETE")
    return [
        Middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=methods, allow_headers=("*",), expose_headers=_EXPOSED
        )
    ]


_INSTEAD = f"a tool is at {served.TOOL}, and {served.POOLS} lists the pools"
_EXPOSED = ("ETag", "Retry-After", *served.ANSWERED, "WWW-Authenticate", "X-Request-Id")


def _of_starlette(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return problem(MethodNotAllowed(f"{request.method} is not served at {request.url.path}"), also=error.headers)
    if error.status_code == 404:
        return problem(PathNotFound(f"nothing is served at {request.url.path}: {_INSTEAD}"))
    return Response(error.detail, error.status_code, error.headers)


def _probes(gateway: Gateway) -> list[BaseRoute]:
    client = gateway.client

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        if gateway.leaving.is_set():
            return PlainTextResponse("leaving\n", 503)
        if client.links:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"no link to a control plane at {client.server}\n", 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
