"""A gateway in the test's own process: its application, asked without a socket, and a whole server at a free port."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from snakepit import Client
from snakepit_gateway.app import make_app
from snakepit_gateway.settings import Settings


@contextlib.asynccontextmanager
async def gateway(server: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the application itself; an answer is whole before a test sees it, so streams need `served`."""
    app = make_app(Settings(**settings), Client(server))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as http:
        yield http
