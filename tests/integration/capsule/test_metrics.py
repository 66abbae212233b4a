"""What an agent says to Prometheus: of its calls, links and workers, at a port of its own, if it has one."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest

import snakepit
from snakepit._telemetry.metrics_server import MOST_CONNECTIONS
from snakepit_control_plane.server import Running
from support.capsules import LocalCapsule, capsule, ready, spec
from support.eventually import eventually
from support.metrics import Scrape, answered, scrape
from support.otlp import receiving
from support.ports import free_port
from support.simulated_agent import POOL

TWO = spec("support.sample:Sample", worker={"processes": 2})
ONE = spec("support.sample:Sample")
BROKEN = spec("support.failing_import:Nobody", restart={"maxRestarts": 100})
ENDLESS = spec("support.endless_import:Nobody")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def two(server: Running, port: int) -> AsyncIterator[LocalCapsule]:
    async with capsule(TWO, server, pool=POOL, metrics_port=port) as running:
        yield running


@pytest.fixture
async def pool(server: Running, two: LocalCapsule) -> AsyncIterator[snakepit.Pool]:
    async with snakepit.Client(server.address) as client:
        yield await ready(client.pool(POOL), 2)


async def test_workers_that_came_up_are_counted_with_their_setup_and_their_memory(pool: snakepit.Pool, port: int) -> None:
    async def measured() -> Scrape | None:
        found = await scrape(f"127.0.0.1:{port}")
        return found if len(found.series("snakepit_worker_memory_bytes")) == 2 else None

    found = await eventually(measured, "the keeper has measured both")
    assert found["snakepit_worker_starts_total", {"pool": POOL, "outcome": "Ready"}] == 2
    assert found["snakepit_worker_setup_duration_seconds_count", {"pool": POOL}] == 2
    assert found["snakepit_agent_links", {"pool": POOL}] == 1
    assert found.labels("snakepit_worker_memory_bytes", "worker") == {"0", "1"}
    assert all(size > 1 << 20 for size in found.series("snakepit_worker_memory_bytes").values())
    assert found.labels("snakepit_build_info", "component") == {"agent"}
    assert found["process_resident_memory_bytes", {}] > 1 << 20


async def test_calls_are_seen_while_they_run(pool: snakepit.Pool, port: int) -> None:
    async def running() -> float:
        return (await scrape(f"127.0.0.1:{port}"))["snakepit_agent_calls", {"pool": POOL}]

    assert await running() == 0
    calls = [asyncio.create_task(pool.call("sleep", {"seconds": 60})) for _ in range(2)]

    async def both() -> bool:
        return await running() == 2

    await eventually(both, "both workers run a call")
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)

    async def none() -> bool:
        return await running() == 0

    await eventually(none, "they are over")


async def test_a_worker_that_cant_start_is_counted_by_the_reason(server: Running, port: int) -> None:
    async with capsule(BROKEN, server, pool=POOL, metrics_port=port):

        async def failed() -> float:
            found = await answered(f"127.0.0.1:{port}")
            return 0 if found is None else found.total("snakepit_worker_starts_total", outcome="ImportFailed")

        await eventually(failed, "its start is counted")


async def test_workers_that_were_about_to_start_when_their_container_went_are_counted(
    server: Running, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "snakepit_agent")
    async with capsule(ENDLESS, server, pool=POOL, metrics_port=port) as local:
        await eventually(lambda: "keeper" in caplog.text and "connected" in caplog.text, "its worker is about to start")
        assert local.keeper is not None
        local.keeper.send_signal(signal.SIGKILL)

        async def counted() -> float:
            return (await scrape(f"127.0.0.1:{port}")).total("snakepit_worker_starts_total", outcome="KeeperLost")

        assert await eventually(counted, "its start is counted") == 1


async def test_an_agent_without_a_port_answers_nobody(server: Running, port: int) -> None:
    async with capsule(ONE, server, pool=POOL, metrics_port=0), snakepit.Client(server.address) as client:
        await ready(client.pool(POOL))
        assert await answered(f"127.0.0.1:{port}") is None


async def test_an_agent_whose_port_is_taken_says_which_and_ends(server: Running, port: int) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "0.0.0.0", port)
    async with taken, capsule(ONE, server, pool=POOL, keeper=False, metrics_port=port) as local:
        with pytest.raises(OSError, match=rf"SNAKEPIT_METRICS_PORT.*{port}|{port}.*SNAKEPIT_METRICS_PORT"):
            await asyncio.wait_for(local.agent, 20)


async def test_however_many_say_nothing_whoever_scrapes_is_answered_and_there_is_one_thread(server: Running, port: int) -> None:
    async with capsule(ONE, server, pool=POOL, keeper=False, metrics_port=port), AsyncExitStack() as stack:
        await eventually(partial(answered, f"127.0.0.1:{port}"), "it listens")
        for _ in range(10 * MOST_CONNECTIONS):
            stack.enter_context(await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 10))
        assert (await scrape(f"127.0.0.1:{port}"))["snakepit_agent_links", {"pool": POOL}] <= 1
        assert sum(each.name == "metrics" for each in threading.enumerate()) == 2, "the agent's, and the replica's"


async def test_the_same_is_pushed_over_otlp_also_without_a_port(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{collector.port}")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        async with capsule(ONE, server, pool=POOL):
            setup = "snakepit-agent", "snakepit_worker_setup_duration_seconds"
            await eventually(lambda: setup in collector.metrics.metrics, "its worker's setup is pushed")
