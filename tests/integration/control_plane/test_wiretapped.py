"""Who reads the network between a caller and a replica reads neither calls nor results, where there is TLS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import snakepit
from snakepit._wire.trust import Trust
from snakepit_control_plane.server import Running
from support.authority import Authority
from support.control_plane import replica
from support.simulated_agent import POOL, simulated_agent

TAPPED = "127.0.0.2"
"""Where the replica is reached by a caller: each byte passes somebody who listens."""
SECRET = "nobody-else-reads-this-" * 4


class Tap:
    """Passes on to the same port of 127.0.0.1, and hears all of it."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self._ends: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        there, back = await asyncio.open_connection("127.0.0.1", port)
        self._ends += [writer, back]
        await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.heard += data
                writer.write(data)
        writer.close()

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


@pytest.mark.parametrize("secured", [True, False], ids=["TLS", "plaintext"])
async def test_who_listens_on_the_wire_reads_no_call_where_there_is_tls_and_every_one_where_there_is_none(
    secured: bool, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "own")
    files = authority.files(names=("127.0.0.1", TAPPED)) if secured else None
    ca_file = authority.ca_file if secured else None
    async with replica(tls=files) as server, tapped(server) as tap:
        port = server.address.rpartition(":")[2]
        async with simulated_agent(server.address, trust=Trust(ca_file)), snakepit.Client(f"{TAPPED}:{port}", ca_file=ca_file) as client:
            assert await client.pool(POOL).call("echo", {"x": SECRET}, timeout=10) == {"x": SECRET}
            assert {link.transport for link in server.links.links} == {"lane"}
        assert len(tap.heard) > len(SECRET)
        assert (SECRET.encode() in tap.heard) is not secured
