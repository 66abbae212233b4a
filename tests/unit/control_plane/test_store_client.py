"""What is asked of the store, whatever way to it is used: it is answered, and ends when it is told to."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.store.client import RedisClient
from snakepit_control_plane.store.connection import Command
from support.eventually import eventually

TURNS = 8
"""More turns of the event loop than what is asked takes."""


class Sending:
    """Asks as redis-py does: what is sent, is sent within a time."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.fails = False
        self.failed = 0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        self._try()
        return [b"PONG" for _ in commands]

    async def prepare(self, scripts: Sequence[str], *, afresh: bool) -> str:
        self._try()
        return ""

    def _try(self) -> None:
        if self.fails:
            self.failed += 1
            raise LookupError("nobody has thought of this")

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


async def test_a_failure_that_nobody_has_thought_of_leaves_nobody_without_an_answer_and_the_store_is_found_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("snakepit_control_plane.store.client.PROBE_SECONDS", 0.01)
    way = Sending()
    client = RedisClient(way)
    await client.start()
    way.fails = True
    with pytest.raises(StoreUnavailable, match="LookupError: nobody has thought of this"):
        await asyncio.wait_for(client.ask("PING"), 10)
    await eventually(lambda: way.failed > 3, "the prober has met it, too")
    assert caplog.text.count("the session store's client failed") == 1
    way.fails = False
    await eventually(lambda: not client.problem, "it is found again")
    assert await client.ask("PING") == b"PONG"
    await client.close()
