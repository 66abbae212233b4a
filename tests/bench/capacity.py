"""What a control-plane replica holds: its resident memory with many links, idle sessions and queued calls. Agents are simulated."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import snakepit
from tests.bench.cpu import resident_mib
from tests.bench.plane import BUILD, Plane, until_up
from tests.bench.rounds import say
from tests.bench.rows import Row, Target, number
from tests.support.redis_server import redis_server
from tests.support.simulated_agent import SimulatedAgent, settings

POOLS = 10
LINKS = 1_000
SESSIONS = 10_000
QUEUED = 10_000
TOGETHER = 50
"""So many agents link, and so many sessions are made, at the same time."""

MOST_MIB = 150
WAIT_SECONDS = 60.0


async def rows() -> list[Row]:
    BUILD.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(redis_server())
        plane = Plane(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.push_async_callback(plane.end)
        address = plane.start_replica(store=redis.url)
        client = await stack.enter_async_context(snakepit.Client(address, connect_timeout=WAIT_SECONDS))
        pools = [client.pool(f"default/bench-{number}") for number in range(POOLS)]
        pid = plane.replicas[address].pid
        story = []

        def look(what: str) -> None:
            story.append(f"{what} {number(resident_mib(pid), 'MiB')}")
            say(f"  {story[-1]}")

        await until_up(client)
        look("at the start")
        agents = [SimulatedAgent(address, name=f"capsule-{each}", pool=pools[each % POOLS].name, beat_seconds=2.0) for each in range(LINKS)]
        for agent in agents:
            agent.settings = settings(agent.pool, queue={"timeoutSeconds": 300, "maxSize": QUEUED // POOLS})
            stack.push_async_callback(agent.stop)
        await in_groups(agent.start(WAIT_SECONDS) for agent in agents)
        look(f"with {LINKS:,} links")
        await in_groups(use_session(pools[each % POOLS], each) for each in range(SESSIONS))
        look(f"with {SESSIONS:,} sessions, each used once")
        calls = [asyncio.create_task(pools[each % POOLS].call("hang", timeout=300)) for each in range(LINKS + QUEUED)]
        await until_queued(client)
        look(f"with {QUEUED:,} queued calls")
        reached = resident_mib(pid)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return [
        Row(
            what=f"control plane: RSS with {SESSIONS:,} sessions, {LINKS:,} links, {QUEUED:,} queued calls",
            figure=reached,
            unit="MiB",
            value=reached,
            target=Target("<", MOST_MIB, "MiB"),
            note=", ".join(story),
        )
    ]


async def in_groups(work: Iterable[Awaitable[object]]) -> None:
    """All of it, TOGETHER at a time."""
    places = asyncio.Semaphore(TOGETHER)

    async def one(each: Awaitable[object]) -> None:
        async with places:
            await each

    await asyncio.gather(*(one(each) for each in work))


async def use_session(pool: snakepit.Pool, number: int) -> None:
    async with pool.session(f"session-{number}") as session:
        await session.call("echo", timeout=WAIT_SECONDS)


async def until_queued(client: snakepit.Client) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while sum(pool.queue_depth for pool in await client.pools()) < QUEUED:
            await asyncio.sleep(0.1)
