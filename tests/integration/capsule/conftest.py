"""A control-plane replica for capsules, and a caller of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from snakepit_control_plane.server import Running
from support.control_plane import Caller
from support.control_plane import replica as control_plane


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with control_plane() as running:
        yield running


@pytest.fixture
async def caller(server: Running) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Caller(channel)
