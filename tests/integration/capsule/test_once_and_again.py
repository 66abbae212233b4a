"""Idempotency keys, and tools that run again, with real workers: tools that count their runs in a file, one capsule, two replicas, a
real Redis, the SDK.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import snakepit
from snakepit.errors import Started, WorkerLost
from snakepit_control_plane.server import Running, make_store
from support.capsules import FATAL, LocalCapsule, capsule
from support.control_plane import eventually, replica
from support.redis_server import redis_server
from support.simulated_agent import POOL


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Running, Running]]:
    with redis_server() as redis:
        async with replica(make_store(redis.url)) as first, replica(make_store(redis.url)) as second:
            yield first, second


def runs(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


async def test_fifty_repeats_at_once_through_two_replicas_run_once(pool: snakepit.Pool, tmp_path: Path) -> None:
    arguments = {"path": str(tmp_path / "runs"), "seconds": 0.3}
    answers = await asyncio.gather(*(pool.call("work", arguments, idempotency_key="fifty", timeout=20) for _ in range(50)))
    assert set(answers) == {1}
    assert await pool.call("work", arguments, idempotency_key="fifty") == 1
    assert runs(tmp_path / "runs") == 1


async def test_callers_hear_how_far_a_call_with_a_key_is(pool: snakepit.Pool, tmp_path: Path) -> None:
    said: list[tuple[float, str]] = []
    arguments = {"path": str(tmp_path / "runs")}
    call = asyncio.create_task(
        pool.call("report", arguments, idempotency_key="far", timeout=20, on_progress=lambda *news: said.append(news))
    )
    await eventually(lambda: said == [(0.5, "half")])
    (tmp_path / "runs.go").touch()
    assert await call == 1
    assert said == [(0.5, "half"), (1.0, "all")]
    assert await pool.call("report", arguments, idempotency_key="far") == 1


async def test_a_call_whose_worker_died_is_not_run_again_under_its_key(pool: snakepit.Pool, tmp_path: Path) -> None:
    for _ in range(3):
        with pytest.raises(WorkerLost) as lost:
            await pool.call("once", {"path": str(tmp_path / "runs")}, idempotency_key="once")
        assert lost.value.started is Started.MAYBE
    assert runs(tmp_path / "runs") == 1


@pytest.mark.parametrize("key", [None, "again"], ids=["without a key", "with a key"])
async def test_an_idempotent_tool_whose_worker_died_runs_again(pool: snakepit.Pool, tmp_path: Path, key: str | None) -> None:
    assert await pool.call("again", {"path": str(tmp_path / "runs"), "deaths": 2}, idempotency_key=key, timeout=20) == 3
    processes = (tmp_path / "runs").read_text().split()
    assert len(set(processes)) == 3


async def test_a_dead_agent_is_maybe_and_only_idempotent_tools_run_again(
    replicas: tuple[Running, Running], local: LocalCapsule, pool: snakepit.Pool, tmp_path: Path
) -> None:
    """Its keeper kills the workers; another capsule takes over what may run twice."""
    work = asyncio.create_task(pool.call("work", {"path": str(tmp_path / "work"), "seconds": 30}, timeout=20))
    again = asyncio.create_task(pool.call("hang_first", {"path": str(tmp_path / "again")}, timeout=20))
    await eventually(lambda: runs(tmp_path / "work") == runs(tmp_path / "again") == 1)
    async with capsule(FATAL, *replicas, pool=POOL, capsule="sample-1"):
        local.agent.cancel()
        with pytest.raises(WorkerLost) as lost:
            await work
        assert lost.value.started is Started.MAYBE
        assert await again == 2
        assert runs(tmp_path / "work") == 1
