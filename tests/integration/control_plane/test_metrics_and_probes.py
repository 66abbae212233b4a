"""Metrics over HTTP and probes over gRPC, each on a port of its own: nobody can keep others from asking there."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from snakepit import __version__
from snakepit._telemetry import metrics_server as metrics
from snakepit._telemetry.metrics import instruments
from snakepit_control_plane import server as server_module
from snakepit_control_plane.server import Running
from snakepit_control_plane.settings import Settings
from snakepit_control_plane.store.memory import MemoryStore
from support.attack import hung_up
from support.control_plane import eventually, replica

LOOKS = 100
"""In a row, of which each takes 5 ms at least: several times as long as a server sleeps that looks about now and then."""

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def get(address: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def scrape(server: Running) -> tuple[int, str]:
    return await asyncio.to_thread(get, server.metrics_address)


async def probe(server: Running, service: str, seconds: float = 10.0) -> int:
    """As a kubelet: by a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.health_address, options=options) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int((await health_pb2_grpc.HealthStub(channel).Check(request, timeout=seconds)).status)


@pytest.fixture
def own_settings() -> dict[str, Any]:
    return {"health": "127.0.0.1:0"}


@pytest.fixture
def crowd() -> Iterator[Callable[[str], socket.socket]]:
    """Opens connections that say nothing."""
    with ExitStack() as stack:

        def open_(address: str) -> socket.socket:
            host, _, port = address.rpartition(":")
            return stack.enter_context(socket.create_connection((host, int(port)), 10))

        yield open_


# ---- probes


async def test_probes_are_answered(server: Running) -> None:
    for service in ("", "ready", "started"):
        assert await probe(server, service) == SERVING


async def test_a_replica_that_stops_is_alive_and_not_ready(server: Running) -> None:
    assert await probe(server, "ready") == SERVING
    server.stopping = True

    async with asyncio.timeout(20):
        while await probe(server, "ready") != NOT_SERVING:
            await asyncio.sleep(0.05)
    assert await probe(server, "") == SERVING
    server.stopping = False  # The fixture stops it in earnest.


async def test_a_start_that_makes_nothing_ready_is_over_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "START_SECONDS", 0.3)
    async with replica(told=False, health="127.0.0.1:0") as server:
        assert server.not_ready(), "it waits for the operator"
        assert await probe(server, "started") == SERVING
        assert await probe(server, "ready") == NOT_SERVING


async def test_however_many_say_nothing_the_kubelet_is_answered(server: Running, crowd: Callable[[str], socket.socket]) -> None:
    silent = [crowd(server.health_address) for _ in range(300)]
    for _ in range(3):
        assert await probe(server, "ready", seconds=2) == SERVING
    # After gRPC's own first words.
    while not await asyncio.to_thread(hung_up, silent[0]):
        pass


async def test_who_floods_the_metrics_keeps_no_probe_waiting(server: Running, crowd: Callable[[str], socket.socket]) -> None:
    _ = [crowd(server.metrics_address) for _ in range(2 * metrics.MOST_CONNECTIONS)]
    for service in ("", "ready"):
        assert await probe(server, service, seconds=2) == SERVING


async def test_whoever_asks_grpcs_own_health_first_is_not_sent_to_what_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpcio's service begins with "serving", and knows of nobody. The start is held where gRPC has just begun."""

    async def begins(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(server_module.HealthServer, "start", begins)
    server = Running(Settings(listen="127.0.0.1:0", metrics=None, health="127.0.0.1:0"), MemoryStore())
    starting = asyncio.create_task(server.start())
    await eventually(lambda: server.address)
    async with grpc.aio.insecure_channel(server.address) as channel:
        for service in ("", "snakepit.v1.RouterService"):
            request = health_pb2.HealthCheckRequest(service=service)
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=10, wait_for_ready=True)
            assert answer.status == NOT_SERVING, "it waits for the operator"
    starting.cancel()
    await server.stop(linger=0, drain=0)


# ---- metrics


async def test_a_scrape_is_answered(server: Running) -> None:
    status, text = await scrape(server)
    assert status == 200
    assert "snakepit_tasks" in text
    assert f'snakepit_build_info{{component="control-plane",version="{__version__}"}} 1.0' in text


async def test_a_loop_that_does_not_turn_leaves_out_what_only_it_knows(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "ANSWER_SECONDS", 0.1)
    with ThreadPoolExecutor(1) as thread:
        status, text = thread.submit(get, server.metrics_address).result(20)  # The loop waits, which it must never do.
    assert status == 200
    assert "snakepit_links" in text
    assert "snakepit_tasks" not in text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BREW"])
async def test_metrics_are_read_and_nothing_else(server: Running, method: str) -> None:
    def ask() -> int:
        with contextlib.closing(http.client.HTTPConnection(server.metrics_address, timeout=10)) as connection:
            connection.request(method, "/metrics")
            return connection.getresponse().status

    assert await asyncio.to_thread(ask) == 405


async def test_however_many_say_nothing_everybody_who_scrapes_is_answered(server: Running, crowd: Callable[[str], socket.socket]) -> None:
    silent = [crowd(server.metrics_address) for _ in range(2 * metrics.MOST_CONNECTIONS)]
    for _ in range(3):
        assert (await scrape(server))[0] == 200
    assert await asyncio.to_thread(hung_up, silent[0])
    assert [each.name for each in threading.enumerate()].count("metrics") == 1


async def test_who_scrapes_in_a_crowd_is_let_in_one_after_another(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or else a crowd would have each of them hung up on before it is answered."""
    monkeypatch.setattr(metrics, "PACE_SECONDS", 0.2)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*[scrape(server) for _ in range(8)])
    assert [status for status, _ in answers] == [200] * 8
    assert asyncio.get_running_loop().time() - began >= 7 * 0.2


async def test_who_says_nothing_is_hung_up_on(
    server: Running, crowd: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LIFE_SECONDS", 0.3)
    assert await asyncio.to_thread(hung_up, crowd(server.metrics_address))


async def test_who_says_a_byte_at_a_time_is_hung_up_on(
    server: Running, crowd: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LIFE_SECONDS", 0.6)
    slow = crowd(server.metrics_address)
    slow.setblocking(False)

    def gone() -> bool:
        with contextlib.suppress(BlockingIOError):
            slow.send(b"G")
            return slow.recv(1) == b""
        return False

    with contextlib.suppress(ConnectionError):
        await eventually(gone)


async def test_nothing_wakes_up_while_nobody_asks(server: Running) -> None:
    """Each capsule has such a server."""
    await scrape(server)
    (thread,) = [each for each in threading.enumerate() if each.name == "metrics"]
    status = Path(f"/proc/self/task/{thread.native_id}/status")
    seen = [""] * LOOKS

    def rests() -> bool:
        seen.append(next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches:")))
        return len(set(seen[-LOOKS:])) == 1

    await eventually(rests)
