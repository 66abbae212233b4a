"""Probes and metrics over HTTP: answered while the loop turns, said to be amiss when it doesn't, and nobody can keep others from asking."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import http

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
def silent(server: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """As many as may be connected at once, who say nothing."""
    monkeypatch.setattr(http._Handler, "timeout", 0.5)
    host, _, port = server.http_address.rpartition(":")
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(http.MOST_CONNECTIONS)]


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
    monkeypatch.setattr(http, "START_SECONDS", 0.3)
    monkeypatch.setattr(server._http, "_not_ready", lambda: "the store is away")
    assert await ask(server, "startz") == (200, "ok\n")
    assert await ask(server, "readyz") == (503, "the store is away\n")


async def test_a_loop_that_does_not_turn_is_not_alive(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.1)
    asked = asyncio.create_task(ask(server, "livez"))
    await asyncio.sleep(0)
    time.sleep(1)  # noqa: ASYNC251  # What a loop must never do, and what the probe is to find.
    assert await asked == (503, "the event loop does not turn\n")


async def test_who_says_nothing_is_hung_up_on_and_then_others_are_answered(server: Running, silent: list[socket.socket]) -> None:
    host, _, port = server.http_address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as one_more:
        assert await asyncio.to_thread(one_more.recv, 1) == b""
    for each in silent:
        assert await asyncio.to_thread(each.recv, 1) == b""
    async with asyncio.timeout(10):
        while True:
            try:
                assert await ask(server, "livez") == (200, "ok\n")
                return
            except (ConnectionError, urllib.error.URLError):
                await asyncio.sleep(0.01)  # The last one's place is free in a moment.
