"""What most tests of running parts begin with. A folder whose server is another program has fixtures of the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from snakepit import Client
from snakepit_control_plane.server import Running
from support.control_plane import Caller, calling, replica
from support.replica import Replica
from support.replica import replica as played


@pytest.fixture
def own_settings() -> dict[str, Any]:
    """What the replica of a module has that others' have not."""
    return {}


@pytest.fixture
async def server(own_settings: dict[str, Any]) -> AsyncIterator[Running]:
    """A control-plane replica in the test's process."""
    async with replica(**own_settings) as running:
        yield running


@pytest.fixture
async def caller(server: Running) -> AsyncIterator[Caller]:
    """Calls as any language's gRPC client."""
    async with calling(server.address) as made:
        yield made


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    """The SDK's."""
    async with Client(server.address) as made:
        yield made


@pytest.fixture
async def control() -> AsyncIterator[Replica]:
    """A control plane that the test plays: it sees what agents say, and says what it likes."""
    async with played() as serving:
        yield serving
