"""MCP's own conformance suite through a pool: two gateways behind one address, two control planes, each restarted meanwhile.

What is expected to fail stands in tests/clients/mcp/baseline.yaml, with a reason each. A session's handle goes on through all of it, and
through the death of its worker.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import mcp
import pytest

from snakepit import Client, Pool
from support.conformance import passes
from support.eventually import eventually
from support.mcp_front import NAME, front, has_workers

pytestmark = pytest.mark.timeout(180)


async def told(url: str, tool: str, **given: Any) -> Any:
    """By a client of its own."""
    async with mcp.Client(url) as client:
        return (await client.call_tool(tool, given)).structured_content


async def kill_the_worker(pool: Pool) -> None:
    """Until there is another one."""
    (worker,) = await pool.workers()
    os.kill(worker.pid, signal.SIGKILL)

    async def another() -> bool:
        return [each.incarnation for each in await pool.workers() if each.state == "ready"] not in ([], [worker.incarnation])

    await eventually(another, "another worker is ready", 40)


async def test_the_suite_passes_while_gateways_and_control_planes_are_restarted_and_a_handle_goes_on() -> None:
    async with front("support.everything:Everything", profile="thread") as made, Client(made.server) as client:
        await has_workers(client.pool(NAME), 1)
        handle = await told(made.url, "open_session")
        await told(made.url, "remember", value="tea", **handle)

        async def restarts() -> None:
            for _ in made.gateways:
                await made.restart_gateway()
                await made.restart_replica()

        restarting = asyncio.create_task(restarts())
        await passes(made.url)
        await restarting
        await kill_the_worker(client.pool(NAME))
        assert await told(made.url, "recall", **handle) == {"result": "tea"}
