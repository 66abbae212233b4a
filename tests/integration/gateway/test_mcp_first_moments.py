"""An MCP client that comes before a pool's first worker: many ask once for the tools, and go by that."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from snakepit_control_plane.server import Running
from snakepit_gateway.mcp import asked
from support.control_plane import eventually
from support.gateway import served
from support.simulated_agent import POOL, settings, simulated_agent

PATH = f"/mcp/{POOL}"
OLD = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway before a pool that has no worker yet."""
    server.fleet.sync([settings()], complete=True, drain=[])
    async with served(server.address) as base, httpx.AsyncClient(base_url=base, headers=OLD, timeout=30) as asking:
        yield asking


async def ask(http: httpx.AsyncClient, method: str, **params: Any) -> Any:
    answer = await http.post(PATH, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    return answer.json()["result"]


async def names(http: httpx.AsyncClient) -> set[str]:
    return {each["name"] for each in (await ask(http, "tools/list"))["tools"]}


async def test_a_list_waits_for_the_pools_first_worker(server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = asyncio.Event()
    is_starting = asked.is_starting

    async def looked(pool: Any) -> bool:
        looks.set()
        return await is_starting(pool)

    monkeypatch.setattr(asked, "is_starting", looked)
    listing = asyncio.create_task(names(http))
    await looks.wait()
    async with simulated_agent(server.address):
        assert {"echo", "open_session"} <= await listing


async def test_a_list_has_the_tools_of_a_worker_that_comes_while_it_asks_whether_one_will(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_starting = asked.is_starting
    async with contextlib.AsyncExitStack() as stack:

        async def comes_meanwhile(pool: Any) -> bool:
            await stack.enter_async_context(simulated_agent(server.address))
            await eventually(lambda: server.flow.pools[POOL].tools)
            return await is_starting(pool)

        monkeypatch.setattr(asked, "is_starting", comes_meanwhile)
        assert {"echo", "open_session"} <= await names(http)


async def test_a_list_does_not_wait_for_a_pool_that_is_to_have_no_workers(server: Running, http: httpx.AsyncClient) -> None:
    server.fleet.sync([settings(generation=2, replicas=0)], complete=True, drain=[])
    assert await names(http) == {"open_session"}


async def test_what_nobody_knew_before_the_first_worker_is_asked_anew(server: Running, http: httpx.AsyncClient) -> None:
    """A tool that streams, or has an argument `session`, is called otherwise than one that nobody knows."""
    await ask(http, "ping")
    async with simulated_agent(server.address):
        result = await ask(http, "tools/call", name="count", arguments={"to": 3})
        assert result["structuredContent"] == {"result": [0, 1, 2]}


async def test_a_listener_hears_of_the_first_worker(server: Running, http: httpx.AsyncClient) -> None:
    heard: list[str] = []

    async def hear() -> None:
        async with http.stream("GET", PATH) as stream:
            async for line in stream.aiter_lines():
                heard.append(line)  # noqa: PERF401  # each as it comes

    listening = asyncio.create_task(hear())
    await eventually(lambda: heard, "it listens")
    async with simulated_agent(server.address):
        await eventually(lambda: any("list_changed" in line for line in heard), "it has heard")
    listening.cancel()
    await asyncio.wait([listening])


async def test_a_program_on_stdio_begins_before_the_first_worker(server: Running, http: httpx.AsyncClient) -> None:
    command = (sys.executable, "-m", "snakepit.cli", "mcp", POOL, "--server", server.address)
    program = await asyncio.to_thread(subprocess.run, command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (program.returncode, program.stderr) == (0, b"")
