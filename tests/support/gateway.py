"""A gateway in the test's own process: its application, asked without a socket, and a whole server at a free port."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx

from snakepit import Client
from snakepit_gateway.app import make_app
from snakepit_gateway.main import server as program
from snakepit_gateway.settings import Settings
from support.eventually import eventually


@contextlib.asynccontextmanager
async def gateway(server: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Asks the application itself; an answer is whole before a test sees it, so streams need `served`."""
    app = make_app(Settings(**settings), Client(server))
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


@contextlib.asynccontextmanager
async def served(server: str, **settings: Any) -> AsyncIterator[str]:
    """A whole server at a free port, in the test's loop: its URL. What still runs at the end is cut off."""
    client = Client(server)
    running = program(Settings(listen="127.0.0.1:0", drain_seconds=1, linger_seconds=0, **settings), client)
    task = asyncio.create_task(running._serve(), name="gateway")  # noqa: SLF001  # `serve` takes the process's signals
    try:
        await eventually(lambda: running.started and client.links, "the gateway is ready")
        yield f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    finally:
        running.handle_exit(signal.SIGTERM, None)
        await task
