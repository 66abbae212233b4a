"""What a session's tool leaves behind in its worker is not in the context of another session's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from snakepit import Client
from support.dev_server import Dev, pool_file, ready_dev

LEAVING = "support.leaving:Leaving"


@pytest.fixture(scope="module")
def leaving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("pools")
    process = pool_file(folder, "process", LEAVING, replicas="1")
    thread = pool_file(folder, "thread", LEAVING, worker="profile: thread, threads: 1", replicas="1")
    with ready_dev(process, thread) as program:
        yield program


def untouched(session: str) -> dict[str, Any]:
    return {"session": session, "metadata": {"own": session}, "variable": "nothing", "left": "nothing", "state": {}}


@pytest.mark.parametrize("profile", ["process", "thread"])
@pytest.mark.parametrize("leave", ["leave", "leave_async"])
@pytest.mark.parametrize("look", ["look", "look_async"])
async def test_a_session_finds_nothing_that_another_left(leaving: Dev, profile: str, leave: str, look: str) -> None:
    async with Client(leaving.server) as client:
        pool = client.pool(profile)
        async with pool.session("one", delete=True) as one, pool.session("two", delete=True) as two:
            await one.call(leave, metadata={"own": "one"}, timeout=10)
            assert await two.call(look, metadata={"own": "two"}, timeout=10) == untouched("two")
            # Its own state it finds as it was stored, not as a tool changed it in its memory.
            assert await one.call(look, metadata={"own": "one"}, timeout=10) == {**untouched("one"), "state": {"k": ["mine"]}}
        assert (await pool.call("whose", timeout=10))["session"] == ""


@pytest.mark.parametrize("profile", ["process", "thread"])
async def test_another_life_of_a_session_finds_nothing_of_the_one_before(leaving: Dev, profile: str) -> None:
    async with Client(leaving.server) as client:
        pool = client.pool(profile)
        for _ in range(2):
            async with pool.session("again", delete=True) as session:
                assert await session.call("look", metadata={"own": "again"}, timeout=10) == untouched("again")
                await session.call("leave", timeout=10)


async def test_a_context_that_a_tool_kept_reaches_nothing_any_more(leaving: Dev) -> None:
    async with Client(leaving.server) as client, asyncio.timeout(20):
        pool = client.pool("process")
        async with pool.session("one", delete=True) as one, pool.session("two", delete=True) as two:
            await one.call("leave", timeout=10)
            assert "has ended: its context can't be used any more" in await two.call("reach_back", timeout=10)
