"""The real program, and a good caller beside each attack on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from support.attack import Plane, attacker, plane, victim
from support.control_plane import Caller

MOST_GROWTH = 100
"""MiB, of a replica: one message, parsed."""


@pytest.fixture(scope="module")
def server() -> Iterator[Plane]:
    with plane() as running:
        yield running


@pytest.fixture
async def good(server: Plane) -> AsyncIterator[Caller]:
    """It is calling all the time; at the test's end each of its calls must have succeeded, and the replica not have grown."""
    before = server.held
    async with victim(server) as caller:
        yield caller
    assert server.held - before < MOST_GROWTH


@pytest.fixture
async def channel(server: Plane, good: Caller) -> AsyncIterator[grpc.aio.Channel]:
    async with attacker(server) as opened:
        yield opened


@pytest.fixture
async def bad(channel: grpc.aio.Channel) -> Caller:
    return Caller(channel)
