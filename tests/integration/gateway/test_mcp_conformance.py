"""MCP's own conformance suite through a pool: two gateways behind one address, two control planes, each restarted meanwhile.

What is expected to fail stands in tests/clients/mcp/baseline.yaml, with a reason each.
"""

from __future__ import annotations

import asyncio

import pytest

from snakepit import Client
from support.conformance import passes
from support.mcp_front import NAME, front, has_workers

pytestmark = pytest.mark.timeout(180)


async def test_the_suite_passes_while_gateways_and_control_planes_are_restarted() -> None:
    async with front("support.everything:Everything", profile="thread") as made, Client(made.server) as client:
        await has_workers(client.pool(NAME), 1)

        async def restarts() -> None:
            for _ in made.gateways:
                await made.restart_gateway()
                await made.restart_replica()

        restarting = asyncio.create_task(restarts())
        await passes(made.url)
        await restarting
