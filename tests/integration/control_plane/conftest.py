from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from snakepit_control_plane.server import Running
from support.control_plane import Caller, replica
from support.issuer import Issuer, issuer


@pytest.fixture
def signs() -> Iterator[Issuer]:
    """Whoever signs tokens, for replicas that check them."""
    with issuer() as serving:
        yield serving


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with replica() as running:
        yield running


@pytest.fixture
async def caller(server: Running) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield Caller(channel)
