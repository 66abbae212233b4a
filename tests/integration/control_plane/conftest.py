from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from snakepit_control_plane.server import Running
from support.bare_client import Client, bare_client
from support.issuer import Issuer, issuer


@pytest.fixture
def signs(tmp_path: Path) -> Iterator[Issuer]:
    """Whoever signs tokens, for replicas that check them."""
    with issuer(tmp_path) as serving:
        yield serving


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    """One end of a link and no more: it says what a test wants said."""
    async with bare_client(server.address) as made:
        yield made
