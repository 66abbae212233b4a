"""Connections by the hundred of somebody without a token, of one subject or of one address: whoever else comes finds a place."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hostile.wire import DATA, END_HEADERS, END_STREAM, HEADERS, dial, drain, frame, headers, hung_up, opening
from snakepit import Client
from snakepit.errors import ServerUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.policy.crowds import LEAST
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers.connections import Connections
from support.callers import ADA, BOB, put, token
from support.control_plane import clients, eventually, replica
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent

MOST = 100
ELSEWHERE = "127.0.0.2"
POSED = "default/posed"


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return {**asking_settings, "max_connections": MOST}


def begun(stream: int = 1) -> bytes:
    """A request that never gets whole."""
    return frame(HEADERS, END_HEADERS, stream, headers("/snakepit.v1.RouterService/Execute"))


def known(subject: str = "") -> bytes:
    """A request that is answered, for whoever it is from, and one that never gets whole."""
    shown = [("authorization", f"Bearer {token(subject)}")] if subject else []
    asked = frame(HEADERS, END_HEADERS, 1, headers("/snakepit.v1.AccessService/WhoAmI", *shown))
    return asked + frame(DATA, END_STREAM, 1, bytes(5)) + begun(3)


@contextlib.asynccontextmanager
async def crowd(server: Running, first: bytes, address: str = "127.0.0.1") -> AsyncIterator[list[int]]:
    """As many as there may be, each of which says the same, and one more for each that is hung up. Gives how often."""
    port, opened = int(server.address.rpartition(":")[2]), [0]

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
                with contextlib.closing(writer):
                    writer.write(opening() + first)
                    opened[0] += 1
                    while await reader.read(65536):
                        pass
            await asyncio.sleep(0.5)

    crowding = [asyncio.create_task(one()) for _ in range(MOST)]
    try:
        await eventually(lambda: opened[0] >= MOST, "they are there")
        yield opened
    finally:
        for each in crowding:
            each.cancel()
        await asyncio.gather(*crowding, return_exceptions=True)


async def finds_a_place(client: Client, server: Running, opened: list[int]) -> None:
    """And keeps it."""

    async def is_in() -> bool:
        with contextlib.suppress(ServerUnavailable):  # All places may be taken in the moment in which it dials.
            return bool(await client.pool(POOL).call("echo", {"a": 1}) == {"a": 1})
        return False

    await eventually(is_in, "the client finds a place")
    (link,) = clients(server)
    await eventually(lambda: opened[0] > 2 * MOST, "others have been hung up on, and come again")
    assert await client.pool(POOL).call("echo", {"a": 2}) == {"a": 2}
    assert clients(server) == [link], "who has its share is left alone"


async def test_who_has_a_token_finds_a_place_beside_as_many_strangers_as_there_may_be_connections(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, CALL)
    async with crowd(server, begun()) as opened, Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as client:
        await finds_a_place(client, server, opened)
    assert agent.linked.is_set()
    assert "connections that have shown no token are hung up" in caplog.text


async def test_one_subject_does_not_take_all_connections(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, CALL)
    async with crowd(server, known(BOB)) as opened, Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as client:
        await finds_a_place(client, server, opened)
    assert agent.linked.is_set()
    said = [each for each in caplog.messages if f"connections of {BOB!r} are hung up: such may be 50% of maxConnections, {MOST}" in each]
    assert len(said) == 1, "it is said once a minute"


async def test_one_address_does_not_take_all_connections_where_nobody_is_asked_for_a_token(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        replica(max_connections=MOST) as server,
        simulated_agent(server.address) as agent,
        crowd(server, known(), ELSEWHERE) as opened,
        Client(server.address) as client,
    ):
        await finds_a_place(client, server, opened)
        assert agent.linked.is_set()
    assert f"connections of 'ipv4:{ELSEWHERE}' are hung up" in caplog.text


def posing() -> bytes:
    """Says that it is an agent's."""
    about = link_pb2.Capsule(name="poser-0", incarnation="made up", pool=POSED, settings=settings(POSED))
    hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_AGENT, capsule=about)
    said = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]).SerializeToString()
    asked = frame(HEADERS, END_HEADERS, 1, headers("/snakepit.v1.LinkService/Link"))
    return asked + frame(DATA, 0, 1, struct.pack(">BI", 0, len(said)) + said)


async def test_nor_does_an_address_that_says_its_connections_are_agents_where_nobody_asks_for_a_proof(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        replica(max_connections=MOST) as server,
        simulated_agent(server.address) as agent,
        crowd(server, posing(), ELSEWHERE) as opened,
        Client(server.address) as client,
    ):
        await finds_a_place(client, server, opened)
        assert agent.linked.is_set()
    assert f"connections of 'agents at ipv4:{ELSEWHERE}' are hung up: such may be 25% of maxConnections, {MOST}" in caplog.text


@contextlib.contextmanager
def made(count: int, most: int) -> Iterator[tuple[Connections, list[socket.socket], list[str]]]:
    """So many connections, and their names, where `most` may be. Sockets of other kinds are there, too."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        there = [stack.enter_context(dial(port)) for _ in range(count)]
        accepted = [stack.enter_context(listener.accept()[0]) for _ in there]
        for other in (*socket.socketpair(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW), socket.socket(type=socket.SOCK_DGRAM)):
            stack.enter_context(other)
        yield Connections(most, lambda: (port, 0), proven=True), there, ["ipv4:{}:{}".format(*each.getpeername()) for each in accepted]


async def hung_up_on(connections: Connections, there: list[socket.socket], last: int) -> list[int]:
    """Which of them, the last of whom is that one."""
    looking = asyncio.create_task(connections.run())
    assert await asyncio.to_thread(hung_up, there[last])
    assert not looking.done()
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    return [number for number, each in enumerate(there) if not drain(each)]


async def test_a_connection_counts_once_for_whoever_has_shown_a_token_last_and_the_oldest_is_hung_up_on() -> None:
    with made(LEAST + 2, most=LEAST) as (connections, there, names):
        for name in names * 2:
            connections.shows(name, ADA)
        for name, subject in ((names[0], BOB), (names[1], BOB), (names[0], ADA)):
            connections.shows(name, subject)
        assert await hung_up_on(connections, there, 2) == [2], "the first is ada's again, as her newest, and the second is bob's"


async def test_a_gateways_link_is_not_hung_up_on_for_a_caller_who_came_by_it_and_has_too_many(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path
) -> None:
    asks.give(ADA, CALL)
    async with Client(server.address, token_file=put(tmp_path / "ada", token(ADA))) as gateway:
        await gateway.pool(POOL).call("echo", {"a": 1})
        assert (await gateway.as_caller(token=token(BOB)).whoami()).subject == BOB
        there = clients(server)
        async with crowd(server, known(BOB)) as opened:
            await eventually(lambda: opened[0] > 2 * MOST, "his are hung up on")
        assert clients(server) == there


async def test_one_with_a_link_is_the_links_own_whoever_elses_tokens_a_gateway_shows_there() -> None:
    with made(LEAST + 2, most=LEAST) as (connections, there, names):
        connections.shows(names[0], "gateway", link=True)
        for name in names:
            connections.shows(name, BOB)
        assert await hung_up_on(connections, there, 1) == [1]


async def test_strangers_have_half_of_what_subjects_leave() -> None:
    with made(4 * LEAST, most=4 * LEAST) as (connections, there, names):
        for name in names[: 2 * LEAST]:
            connections.shows(name, BOB)
        assert await hung_up_on(connections, there, 3 * LEAST - 1) == list(range(2 * LEAST, 3 * LEAST))
