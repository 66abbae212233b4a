"""One capsule under two replicas, and a client of both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import snakepit
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.capsules import FATAL, LocalCapsule, capsule
from support.control_plane import eventually, replica
from support.simulated_agent import POOL


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[Running, Running]]:
    store = MemoryStore()
    async with replica(store) as first, replica(store) as second:
        yield first, second


@pytest.fixture
async def local(replicas: tuple[Running, Running]) -> AsyncIterator[LocalCapsule]:
    """Its workers die of some of their tools."""
    async with capsule(FATAL, *replicas, pool=POOL) as running:
        await eventually(lambda: all(each.flow.pools.get(POOL) and each.flow.pools[POOL].ready_workers == 2 for each in replicas))
        yield running


@pytest.fixture
async def pool(replicas: tuple[Running, Running], local: LocalCapsule) -> AsyncIterator[snakepit.Pool]:
    async with snakepit.Client(",".join(each.address for each in replicas)) as client:
        await eventually(lambda: client.links == 2)
        yield client.pool(POOL)
