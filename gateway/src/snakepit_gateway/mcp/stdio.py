"""A pool's tools on stdin and stdout, for clients that start a program for each of their servers."""

from __future__ import annotations

import asyncio

from mcp.server.stdio import stdio_server
from mcp_types import NotificationParams

from snakepit import Client
from snakepit.errors import SnakepitError
from snakepit_gateway.mcp.asked import Asked, Catalogues, tools_now
from snakepit_gateway.mcp.listening import Watches
from snakepit_gateway.mcp.server import Context, make_server


async def serve(client: Client, pool: str, *, sessions: bool) -> None:
    """Until stdin ends. Raises SnakepitError where nothing is to be served: a client would only see that the program is silent."""
    await tools_now(client.pool(pool))
    catalogues = Catalogues()

    async def find(_: Context) -> Asked:
        try:
            return Asked(client, pool, sessions=sessions, tools=await catalogues.of(client, pool, ""))
        except SnakepitError as error:
            return Asked(client, pool, sessions=sessions, problem=error)

    watches = Watches(asyncio.Event())
    server = make_server(find, watches)

    async def initialized(context: Context, _: NotificationParams) -> None:
        """A client before 2026-07-28 needn't ask to hear of changes. It runs as long as the client is there."""
        async with watches.watching(client.pool(pool)) as watch:
            changes = asyncio.Event()
            watch.bus.subscribe(lambda _: changes.set())
            while True:
                await changes.wait()
                changes.clear()
                await context.session.send_tool_list_changed()

    server.add_notification_handler("notifications/initialized", NotificationParams, initialized)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())
