"""Probes and metrics over HTTP: answered while the loop turns, said to be amiss when it doesn't, and nobody can keep others from asking."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import http as probes
from support.attack import hung_up
from support.control_plane import eventually, replica

pytestmark = pytest.mark.timeout(30)


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}/{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def ask(server: Running, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(get, server.http_address, path)


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with replica(probes="127.0.0.1:0") as running:
        yield running


@pytest.fixture
def crowd() -> Iterator[Callable[[str], socket.socket]]:
    """Opens connections that say nothing."""
    with ExitStack() as stack:

        def open_(address: str) -> socket.socket:
            host, _, port = address.rpartition(":")
            return stack.enter_context(socket.create_connection((host, int(port)), 10))

        yield open_


async def test_probes_and_metrics_are_answered_and_what_there_is_not_is_said(server: Running) -> None:
    assert await ask(server, "livez") == (200, "ok\n")
    assert await ask(server, "readyz") == (200, "ok\n")
    status, text = await ask(server, "metrics")
    assert status == 200
    assert "snakepit_tasks" in text
    status, text = await ask(server, "favicon.ico")
    assert status == 404
    assert "/livez" in text


async def test_a_replica_that_stops_is_alive_and_not_ready(server: Running) -> None:
    server.stopping = True
    assert await ask(server, "readyz") == (503, "stopping\n")
    assert await ask(server, "livez") == (200, "ok\n")


async def test_a_start_is_over_when_the_replica_is_ready_for_the_first_time(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = iter(["no agent has linked yet"] * 3)
    monkeypatch.setattr(server._http, "_not_ready", lambda: next(reasons, ""))
    assert await ask(server, "startz") == (200, "ok\n")
    assert next(reasons, "") == "", "it was asked until it was"


async def test_a_start_that_makes_nothing_ready_is_over_in_time_too_and_readyz_says_why(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "START_SECONDS", 0.3)
    monkeypatch.setattr(server._http, "_not_ready", lambda: "the store is away")
    assert await ask(server, "startz") == (200, "ok\n")
    assert await ask(server, "readyz") == (503, "the store is away\n")


async def test_a_loop_that_does_not_turn_is_not_alive(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER_SECONDS", 0.1)
    asked = asyncio.create_task(ask(server, "livez"))
    await asyncio.sleep(0)
    time.sleep(1)  # noqa: ASYNC251  # What a loop must never do, and what the probe is to find.
    assert await asked == (503, "the event loop does not turn\n")


async def test_probes_have_a_port_of_their_own_with_nothing_else(server: Running) -> None:
    for path in ("livez", "readyz"):
        assert await asyncio.to_thread(get, server.probes_address, path) == (200, "ok\n")
    status, text = await asyncio.to_thread(get, server.probes_address, "metrics")
    assert (status, text) == (404, "there are /livez, /readyz, /startz\n")


def by(method: str, address: str, path: str) -> tuple[int, str | None, bytes]:
    """Status, what is allowed, body."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Allow"), answer.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
async def test_there_is_nothing_but_get_and_head(server: Running, method: str) -> None:
    assert await asyncio.to_thread(by, method, server.http_address, "/livez") == (405, "GET, HEAD", b"use GET\n")
    assert await asyncio.to_thread(by, "HEAD", server.http_address, "/metrics") == (200, "GET, HEAD", b"")


async def test_however_many_say_nothing_everybody_who_asks_is_answered(server: Running, crowd: Callable[[str], socket.socket]) -> None:
    for address in (server.http_address, server.probes_address):
        silent = [crowd(address) for _ in range(2 * probes.MOST_CONNECTIONS)]
        for _ in range(3):
            assert await asyncio.to_thread(get, address, "readyz") == (200, "ok\n")
        assert await asyncio.to_thread(hung_up, silent[0])
        assert threading.active_count() < 4 * probes.MOST_CONNECTIONS


async def test_who_says_nothing_or_a_byte_at_a_time_is_hung_up_on(
    server: Running, crowd: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes._Handler, "timeout", 0.3)
    monkeypatch.setattr(probes, "LIFE_SECONDS", 0.6)
    silent, slow = crowd(server.http_address), crowd(server.http_address)
    slow.setblocking(False)

    def gone() -> bool:
        with contextlib.suppress(BlockingIOError):
            slow.send(b"G")
            return slow.recv(1) == b""
        return False

    with contextlib.suppress(ConnectionError):
        await eventually(gone)
    assert await asyncio.to_thread(hung_up, silent)
