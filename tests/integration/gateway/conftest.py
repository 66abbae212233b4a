"""A gateway before a control plane of the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from snakepit_control_plane.server import Running
from support.gateway import gateway


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(server.address) as asking:
        yield asking
