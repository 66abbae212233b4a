"""A door before a server: open, shut (connections break, and nobody listens), or a hole in which everything disappears without a word.

It can also break some connections, and say what nobody has said.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

from .ports import free_port

_RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: a close is no farewell, which a peer could take for a well-meant end."""


class Gate:
    """Plain bytes to the server's port and back."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = free_port()
        self.passed = 0
        """Bytes towards the server."""
        self.came = 0
        """Connections, those that have ended included."""
        self._flows = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ends: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def swallow(self) -> None:
        """From now on nothing that is said comes through, and no connection breaks."""
        self._flows.clear()

    async def shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._flows.set()
        await asyncio.sleep(0)  # who was let in at the last moment is served, too
        self.cut()
        await asyncio.gather(*self._serving)

    def cut(self, spared: int = 0) -> None:
        """Break the connections that are open, but for so many of the oldest."""
        for ends in self._ends[spared:]:
            for each in ends:
                with contextlib.suppress(OSError):  # It has ended by itself.
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                each.transport.abort()

    def say(self, noise: bytes) -> None:
        """To the server, on each connection, as if it had come from the other end."""
        for _, behind in self._ends:
            behind.write(noise)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._connect(reader, writer)
        finally:
            self._serving.remove(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            await _close(writer)
            return
        self.came += 1
        self._ends.append(ends := (writer, behind_writer))
        if self._server is None:  # shut meanwhile
            behind_writer.transport.abort()
            writer.transport.abort()
        await asyncio.gather(self._copy(reader, behind_writer, True), self._copy(behind_reader, writer, False))
        self._ends.remove(ends)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flows.wait()
                self.passed += len(data) if up else 0
                writer.write(data)
                await writer.drain()
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def gate(behind: int) -> AsyncIterator[Gate]:
    """An open one, shut at the end."""
    made = Gate(behind)
    await made.open()
    try:
        yield made
    finally:
        await made.shut()
