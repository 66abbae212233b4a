"""Who listens for changes of a pool's tools hears of each, from the moment on that they are told that they listen."""

from __future__ import annotations

import asyncio

import pytest

from snakepit import ToolInfo
from snakepit.errors import ServerUnavailable
from snakepit_gateway.mcp import listening
from snakepit_gateway.mcp.listening import Watches


def tool(name: str) -> ToolInfo:
    return ToolInfo(name, "", {}, {}, streaming=False, idempotent=False, timeout_seconds=0.0)


class Pool:
    """All that is asked of one."""

    name = "default/digits"

    def __init__(self) -> None:
        self.now = [tool("add")]
        self.away = False

    async def tools(self) -> list[ToolInfo]:
        await asyncio.sleep(0)
        if self.away:
            raise ServerUnavailable("no link")
        return self.now


async def test_a_change_right_after_somebody_began_to_listen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.01)
    pool, heard = Pool(), asyncio.Event()
    async with Watches(asyncio.Event()).watching(pool) as watch:  # type: ignore[arg-type]
        watch.bus.subscribe(lambda _: heard.set())
        pool.now = [tool("add"), tool("more")]
        await asyncio.wait_for(heard.wait(), 10)


@pytest.mark.parametrize("why", ["away", "leaving"])
async def test_a_control_plane_that_is_away_and_a_gateway_that_leaves_keep_nobody_waiting(why: str) -> None:
    pool, leaving = Pool(), asyncio.Event()
    pool.away = why == "away"
    if why == "leaving":
        leaving.set()
    async with asyncio.timeout(10), Watches(leaving).watching(pool):  # type: ignore[arg-type]
        pass
