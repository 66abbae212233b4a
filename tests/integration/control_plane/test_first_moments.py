"""What a replica says before it can know: what it has not heard of yet isn't said not to be there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from snakepit import Client, Pool
from snakepit.errors import PoolNotReady, ToolNotFound
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import eventually, may_use, replica
from support.simulated_agent import POOL, settings, simulated_agent

QUESTIONS: dict[str, Callable[[Pool], Awaitable[Any]]] = {
    "info": Pool.info,
    "workers": Pool.workers,
    "tools": Pool.tools,
    "a tool": lambda pool: pool.tool("echo"),
    "a worker's drain": lambda pool: pool.drain_worker("capsule-0/0"),
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_a_replica_that_waits_for_the_operator_gives_no_empty_list_of_pools() -> None:
    async with replica(told=False) as server, Client(server.address) as client:
        with pytest.raises(PoolNotReady, match="which pools there are is not known here yet"):
            await client.pools()
        server.fleet.sync([], complete=True, drain=[])
        await eventually(lambda: not server.not_ready())
        assert await client.pools() == []


@pytest.mark.parametrize("what", QUESTIONS)
async def test_a_replica_that_no_agent_has_linked_to_yet_does_not_say_that_a_pool_has_none(store: MemoryStore, what: str) -> None:
    """It has the pool from the store."""
    await store.save_pool(settings(), override=True)
    async with replica(store, told=False) as server, Client(server.address) as client:
        pool = client.pool(POOL)
        assert [each.name for each in await client.pools()] == [POOL]
        with pytest.raises(PoolNotReady, match=r"not known (here )?yet"):
            await QUESTIONS[what](pool)
        async with simulated_agent(server.address):
            await QUESTIONS[what](pool)


async def test_a_client_asks_the_others_what_a_replica_that_has_just_started_does_not_know(store: MemoryStore) -> None:
    async with replica() as old, simulated_agent(old.address):
        await store.save_pool(settings(), override=True)
        async with replica(store, told=False) as fresh, Client(f"{old.address},{fresh.address}") as client:
            await may_use(client, 2)
            pool = client.pool(POOL)
            for _ in range(4):
                assert len(await pool.workers()) == 1
                assert (await pool.info()).available
                assert await pool.tools()
                assert (await pool.tool("echo")).name == "echo"


async def test_a_pool_whose_first_workers_are_starting_is_not_said_to_have_no_tools(server: Running) -> None:
    server.fleet.sync([settings()], complete=True, drain=[])
    async with Client(server.address) as client:
        pool = client.pool(POOL)
        for ask in (pool.tools, lambda: pool.tool("echo")):
            with pytest.raises(PoolNotReady, match="which tools pool default/test has is not known yet: NoCapsule"):
                await ask()
        async with simulated_agent(server.address):
            assert await pool.tools()
            with pytest.raises(ToolNotFound, match="did you mean echo"):
                await pool.tool("ecko")
