"""A ticket that somebody else has sniffed, where there is no TLS: what it is good for, for how long, and what becomes of whose it is."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client
from snakepit._ipc.callers import read as whose
from snakepit._wire.bulk import FAILED, LAST, OPEN, LaneBroken
from snakepit._wire.status import from_rpc_error
from snakepit.errors import PermissionDenied, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import bulk as bulk_lanes
from support.attack import called
from support.callers import ADA, put, token
from support.control_plane import clients
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent
from support.tap import TAPPED, Tap, tapped


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@pytest.fixture
async def tap(server: Running) -> AsyncIterator[Tap]:
    async with tapped(server) as made:
        yield made


def robbed(server: Running, folder: Path) -> Client:
    return Client(f"{TAPPED}:{server.address.rpartition(':')[2]}", token_file=put(folder / "ada", token(ADA)))


class Thief:
    """A connection that has shown somebody's ticket, and no token."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def calls(self, **fields: Any) -> link_pb2.Result:
        """On a lane."""
        message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=called(**fields))]).SerializeToString()
        self.writer.write(struct.pack("<I", len(message)) + message)
        while True:
            (size,) = struct.unpack("<I", await self.reader.readexactly(4))
            for frame in link_pb2.LinkResponse.FromString(await self.reader.readexactly(size)).frames:
                if frame.HasField("result"):
                    return frame.result

    async def says(self, first: link_pb2.FromClient) -> link_pb2.Result | SnakepitError:
        """What is answered to it on a bulk lane."""
        message = first.SerializeToString()
        self.writer.write(struct.pack("<IB", len(message), OPEN | LAST) + message)
        size, kind = struct.unpack("<IB", await self.reader.readexactly(5))
        body = await self.reader.readexactly(size)
        return from_rpc_error(LaneBroken.said(body)) if kind == FAILED else link_pb2.ToClient.FromString(body).result

    async def hung_up(self) -> None:
        """Wait for it."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                continue


Shows = Callable[[bytes], Awaitable[Thief | None]]
"""None: who shows it is hung up on."""


@pytest.fixture
async def shows(server: Running) -> AsyncIterator[Shows]:
    writers = list[asyncio.StreamWriter]()

    async def show(ticket: bytes) -> Thief | None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.lanes.port)
        writers.append(writer)
        writer.write(ticket)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            assert await reader.readexactly(16) == ticket
            return Thief(reader, writer)
        return None

    yield show
    for writer in writers:
        writer.transport.abort()


async def test_who_comes_first_with_a_lanes_ticket_is_hung_up_on_once_its_owner_comes_whose_calls_go_on(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tap: Tap, shows: Shows, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    thieves = list[Thief]()
    results = list[link_pb2.Result]()

    async def steal() -> None:
        if not thieves:
            thief = await shows(tap.tickets(server)[0])
            assert thief is not None
            thieves.append(thief)
            results.append(await thief.calls())

    tap.before[server.lanes.port] = steal
    async with asyncio.timeout(30), robbed(server, tmp_path) as client:
        assert await client.pool(POOL).call("echo", {"mine": 1}) == {"mine": 1}
        assert results[0].HasField("payload"), "until then it may what its owner may"
        await thieves[0].hung_up()
        assert [whose(call.identity)[0] for call in agent.calls] == [ADA, ADA], "each ran once"
        assert [link.transport for link in clients(server)] == ["lane"]


async def test_who_comes_with_it_once_its_owner_has_is_hung_up_on(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tap: Tap, shows: Shows, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    sniffed = set[bytes]()

    async def sniff() -> None:
        sniffed.add(tap.tickets(server)[0])

    tap.before[server.lanes.port] = sniff
    async with asyncio.timeout(30), robbed(server, tmp_path) as client:
        assert await client.pool(POOL).call("echo", {"mine": 1}) == {"mine": 1}
        (ticket,) = sniffed
        assert await shows(ticket) is None
        assert await client.pool(POOL).call("echo", {"mine": 2}) == {"mine": 2}
        assert len(clients(server)) == 1


async def test_the_ticket_of_bulk_lanes_is_good_for_what_its_owner_may_and_for_as_long_as_the_link(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tap: Tap, shows: Shows, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    async with asyncio.timeout(30):
        async with robbed(server, tmp_path) as client:
            assert await client.pool(POOL).call("echo", {"mine": 1}) == {"mine": 1}
            (ticket,) = tap.tickets(server)
            thief = await shows(ticket)
            assert thief is not None
            result = await thief.says(link_pb2.FromClient(call=called()))
            assert isinstance(result, link_pb2.Result)
            assert result.HasField("payload")
            assert whose(agent.calls[-1].identity)[0] == ADA
            again = await shows(ticket)
            assert again is not None
            asks.take(ADA, CALL)
            server.door.access.forget()
            assert isinstance(await again.says(link_pb2.FromClient(call=called())), PermissionDenied)
        await thief.hung_up()
        await again.hung_up()
        assert await shows(ticket) is None


async def test_who_takes_all_bulk_lanes_of_a_link_keeps_its_owner_from_none(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tap: Tap, shows: Shows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_lanes, "MOST_OF_A_LINK", 3)
    asks.give(ADA, CALL)
    async with asyncio.timeout(30), robbed(server, tmp_path) as client:
        pool = client.pool(POOL)
        assert await pool.call("echo", {"mine": 1}) == {"mine": 1}
        (ticket,) = tap.tickets(server)
        thieves = [await shows(ticket) for _ in range(5)]
        assert all(thieves)
        assert [each async for each in pool.stream("count", {"to": 2})] == [0, 1]
