"""Somebody on the network between a caller and a replica, who hears all that passes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from snakepit_control_plane.server import Running

TAPPED = "127.0.0.2"
"""Where the replica is reached by a caller: each byte passes somebody who listens."""


class Tap:
    """Passes on to the same port of 127.0.0.1. `before`: what is done before a connection to that port is passed on."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.before: dict[int, Callable[[], Awaitable[None]]] = {}
        self._ends: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        if port in self.before:
            await self.before[port]()
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._ends += [writer, back]
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
                writer.write(data)
        writer.close()

    def tickets(self, server: Running) -> list[bytes]:
        """Those of the replica that have been heard, in the order of hearing: a link's lane's, and then that of its bulk lanes."""
        return sorted([each for each in server.lanes.tickets if each in self.heard], key=self.heard.index)

    def end(self) -> None:
        for each in self._ends:
            each.transport.abort()


@contextlib.asynccontextmanager
async def tapped(server: Running) -> AsyncIterator[Tap]:
    tap = Tap()
    ports = [int(server.address.rpartition(":")[2]), server.lanes.port]
    async with contextlib.AsyncExitStack() as stack:
        for port in ports:
            await stack.enter_async_context(await asyncio.start_server(tap.serve, TAPPED, port))
        yield tap
        tap.end()
