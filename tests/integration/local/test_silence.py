"""Agents that fall silent, as real processes: one is given up and replaced; most at once are not."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit import Client, Pool, WorkerInfo, WorkerLost
from support.dev_server import Dev, pool_file, ready_dev
from support.eventually import eventually

PATIENCE_SECONDS = 40.0

TIMEOUT_SECONDS = 2.0
"""Long enough that two agents that are stopped at one time are silent at one time, however busy the machine is."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Dev]:
    heartbeat = f"{{intervalSeconds: 0.2, timeoutSeconds: {TIMEOUT_SECONDS}, missThreshold: 2}}"
    with ready_dev(
        pool_file(
            tmp_path, "sample", "support.sample:Sample", replicas="3", heartbeat=heartbeat, drain="{timeoutSeconds: 1, killAfterSeconds: 1}"
        )
    ) as program:
        yield program


def agents(server: Dev) -> dict[str, int]:
    """By capsule."""
    found = {}
    for pid in server.running("snakepit_agent"):
        variables = dict(line.partition("=")[::2] for line in Path(f"/proc/{pid}/environ").read_text().split("\0"))
        found[variables["SNAKEPIT_CAPSULE"]] = pid
    return found


async def live(pool: Pool) -> list[WorkerInfo]:
    return [each for each in await pool.workers() if each.state == "ready" and each.liveness == "live"]


async def test_a_silent_agent_is_lost_and_its_capsule_replaced(server: Dev) -> None:
    async with Client(server.server) as client:
        pool = client.pool("sample")
        await eventually(lambda: three(pool), "three capsules are live", seconds=PATIENCE_SECONDS)
        call = asyncio.create_task(pool.call("sleep", {"seconds": 60}, timeout=90))
        await eventually(lambda: busy(pool), "the call runs", seconds=PATIENCE_SECONDS)
        (victim,) = [each for each in await pool.workers() if each.running]
        capsule = victim.id.partition("/")[0]
        os.kill(agents(server)[capsule], signal.SIGSTOP)
        with pytest.raises(WorkerLost, match="lost"):
            await call
        assert await pool.call("add", {"a": 1}, timeout=30) == 2
        await eventually(lambda: three(pool, without=capsule), "another capsule is there in its place", seconds=PATIENCE_SECONDS)


async def test_two_silent_agents_of_three_are_not_lost_and_go_on_when_they_wake(server: Dev) -> None:
    async with Client(server.server) as client:
        pool = client.pool("sample")
        await eventually(lambda: three(pool), "three capsules are live", seconds=PATIENCE_SECONDS)
        before = {each.incarnation for each in await pool.workers()}
        stopped = list(agents(server).values())[:2]
        try:
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            await eventually(lambda: only(pool, 1), "two are suspect", seconds=PATIENCE_SECONDS)
            assert await pool.call("add", {"a": 1}, timeout=30) == 2
            silent_since = time.monotonic()
            while time.monotonic() - silent_since < 3 * TIMEOUT_SECONDS:
                assert {each.incarnation for each in await pool.workers()} == before
                await asyncio.sleep(0.1)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        await eventually(lambda: three(pool), "all three are live again", seconds=PATIENCE_SECONDS)
        assert {each.incarnation for each in await pool.workers()} == before


async def three(pool: Pool, without: str = "-") -> bool:
    found = await live(pool)
    return len(found) == 3 and not any(each.id.startswith(f"{without}/") for each in found)


async def only(pool: Pool, count: int) -> bool:
    return len(await live(pool)) == count


async def busy(pool: Pool) -> bool:
    return any(each.running for each in await pool.workers())
