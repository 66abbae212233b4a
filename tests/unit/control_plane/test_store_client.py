"""What is asked of the store, whatever way to it is used: it ends when it is told to."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from snakepit_control_plane.store.client import RedisClient
from snakepit_control_plane.store.connection import Command

TURNS = 8
"""More turns of the event loop than what is asked takes."""


class Sending:
    """Asks as redis-py does: what is sent, is sent within a time."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        raise AssertionError("nobody asks for anything")

    async def prepare(self, scripts: Sequence[str], *, afresh: bool) -> str:
        return ""

    async def moved(self) -> bool:
        self.asked.set()
        await asyncio.wait_for(asyncio.sleep(0), 60)
        return False

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("turns", range(TURNS))
async def test_it_closes_at_whatever_moment_of_its_asking_who_serves(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakepit_control_plane.store.client.PROBE_SECONDS", 0.01)
    way = Sending()
    client = RedisClient(way)
    await client.start()
    await way.asked.wait()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await client.close()
