"""A pool of bulky tools behind a real control plane, called through the SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import snakepit
from snakepit_control_plane.server import Running
from support.capsules import capsule, spec
from support.control_plane import replica
from support.large import POOL, SAMPLE, ready


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with replica() as running:
        yield running
        assert len(running.flow.transfers) == 0


@pytest.fixture
async def pool(server: Running) -> AsyncIterator[snakepit.Pool]:
    async with capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
        yield await ready(client.pool(POOL))
