"""The package's own managers, which answer requests by HTTP: one whose answers are streams where they need to be, and one of JSON alone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from sse_starlette.sse import AppStatus

AppStatus.enable_automatic_graceful_drain = False  # It cuts streams off as soon as uvicorn is told to end, which lets them finish.


class Managers:
    """Requests before 2026-07-28 have tasks of their own in them, which end with the request. Once `running`."""

    def __init__(self, server: Server[Any], most_bytes: int) -> None:
        self.streaming = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=most_bytes)
        self.whole = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=most_bytes, json_response=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """In a task of their own: what goes wrong in them cancels no other, and any task may come out of here."""
        ready, over = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(self._run(ready, over), name="MCP's requests")
        task.add_done_callback(lambda _: ready.set())
        try:
            await ready.wait()
            yield
        finally:
            over.set()
            await task

    async def _run(self, ready: asyncio.Event, over: asyncio.Event) -> None:
        async with self.streaming.run(), self.whole.run():
            ready.set()
            await over.wait()
