"""A control plane, a capsule of tools that call tools, and a client, each real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from snakepit import Client, Pool
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import PATIENCE_SECONDS, replica

ASKING = "support.asking:Asking"


async def until_ready(pool: Pool, workers: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with contextlib.suppress(Exception):  # The pool is not known yet.
                if sum(each.state == "ready" for each in await pool.workers()) >= workers:
                    return
            await asyncio.sleep(0.01)


def port(server: Running) -> int:
    return int(server.address.rpartition(":")[2])


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with replica() as running:
        yield running


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    async with Client(server.address) as client:
        yield client


@pytest.fixture
async def pool(server: Running, client: Client) -> AsyncIterator[Pool]:
    """Two workers, which is all that the pool will ever have."""
    async with capsule(spec(ASKING, worker={"processes": 2}, replicas=1), port(server), pool="default/asking"):
        pool = client.pool("asking")
        await until_ready(pool, 2)
        yield pool
