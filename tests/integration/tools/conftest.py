"""A control plane, a capsule of tools that call tools, and a client, each real."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from snakepit import Client, Pool
from snakepit_control_plane.server import Running
from support.nesting import asking


@pytest.fixture
async def pool(server: Running, client: Client) -> AsyncIterator[Pool]:
    """Two workers, which is all that the pool will ever have."""
    async with asking(server, client) as pool:
        yield pool
