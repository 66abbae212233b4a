"""A control plane's port of lanes alone, and tickets for it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from snakepit_control_plane.servers.lanes import Lanes


@asynccontextmanager
async def serving() -> AsyncIterator[Lanes]:
    lanes = Lanes()
    await lanes.start("127.0.0.1:0")
    try:
        yield lanes
    finally:
        await lanes.stop()


def ticket_of(lanes: Lanes) -> tuple[asyncio.Future[socket.socket], bytes]:
    """A ticket, and the first connection that shows it."""
    came: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

    def take(sock: socket.socket) -> bool:
        lanes.withdraw(ticket)
        came.set_result(sock)
        return True

    ticket = lanes.ticket(take)
    return came, ticket
