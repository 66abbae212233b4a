"""A pool of bulky tools behind a real control plane, called through the SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import snakepit
from snakepit._wire.dial import LANE_SECONDS, Lanes
from snakepit_control_plane.server import Running
from support.capsules import capsule, ready, spec
from support.eventually import eventually
from support.large import POOL, SAMPLE


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who doesn't reach a lane in half a second does without, and then little is large: on a busy machine that was a handshake of TLS."""
    monkeypatch.setitem(LANE_SECONDS, Lanes.WANTED, 20.0)


@pytest.fixture
async def nothing_is_left(server: Running) -> AsyncIterator[None]:
    """Of large payloads, when the clients and the capsule of a test have gone."""
    yield
    assert len(server.flow.transfers) == 0
    await eventually(lambda: not server.links.bulk.count, "all bulk lanes are closed")


@pytest.fixture
async def pool(server: Running) -> AsyncIterator[snakepit.Pool]:
    async with capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
        yield await ready(client.pool(POOL))
