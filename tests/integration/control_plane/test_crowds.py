"""Connections by the hundred of somebody without a token: whoever has one finds a place."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hostile.wire import END_HEADERS, HEADERS, frame, headers, opening
from snakepit import Client
from snakepit.errors import ServerUnavailable
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from support.callers import ADA, put, token
from support.control_plane import clients, eventually
from support.reviewer import Reviewer
from support.simulated_agent import POOL, SimulatedAgent

MOST = 100


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return {**asking_settings, "max_connections": MOST}


@pytest.fixture
async def crowd(server: Running) -> AsyncIterator[list[int]]:
    """As many as there may be, each with a request that never gets whole, and one more for each that is hung up. Gives how often."""
    first = opening() + frame(HEADERS, END_HEADERS, 1, headers("/snakepit.v1.RouterService/Execute"))
    port, opened = int(server.address.rpartition(":")[2]), [0]

    async def one() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with contextlib.closing(writer):
                    writer.write(first)
                    opened[0] += 1
                    while await reader.read(65536):
                        pass
            await asyncio.sleep(0.5)

    crowding = [asyncio.create_task(one()) for _ in range(MOST)]
    await eventually(lambda: opened[0] >= MOST, "they are there")
    yield opened
    for each in crowding:
        each.cancel()
    await asyncio.gather(*crowding, return_exceptions=True)


async def test_who_has_a_token_finds_a_place_beside_as_many_strangers_as_there_may_be_connections(
    server: Running, agent: SimulatedAgent, asks: Reviewer, tmp_path: Path, crowd: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    asks.give(ADA, CALL)
    file = put(tmp_path / "ada", token(ADA))
    async with Client(server.address, token_file=file) as client:

        async def is_in() -> bool:
            with contextlib.suppress(ServerUnavailable):  # All places may be taken in the moment in which it dials.
                return bool(await client.pool(POOL).call("echo", {"a": 1}) == {"a": 1})
            return False

        await eventually(is_in, "the client finds a place")
        (link,) = clients(server)
        await eventually(lambda: crowd[0] > 2 * MOST, "strangers have been hung up on, and come again")
        assert await client.pool(POOL).call("echo", {"a": 2}) == {"a": 2}
        assert clients(server) == [link], "who has shown its token is left alone"
    assert agent.linked.is_set()
    assert "connections that have shown no token are hung up" in caplog.text
