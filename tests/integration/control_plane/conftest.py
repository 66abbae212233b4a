from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakepit_control_plane.policy.rights import LOOK
from snakepit_control_plane.server import Running
from support.bare_client import Client, bare_client
from support.callers import OBSERVER, known_agent
from support.issuer import Issuer, issuer
from support.reviewer import Reviewer, reviewer
from support.simulated_agent import SimulatedAgent


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


@pytest.fixture
def asks() -> Iterator[Reviewer]:
    """Whoever says what callers may do, for replicas that ask. Whoever looks at workers may."""
    with reviewer() as serving:
        serving.give(OBSERVER, LOOK)
        yield serving


@pytest.fixture
def asking_settings(signs: Issuer, asks: Reviewer, tmp_path: Path) -> dict[str, Any]:
    """Of a replica that asks for tokens and rights."""
    (tmp_path / "own").write_text("own")
    return {"authentication": signs.settings(api_server=asks.url, token_file=str(tmp_path / "own"))}


@pytest.fixture
async def agent(server: Running, tmp_path: Path) -> AsyncIterator[SimulatedAgent]:
    """With its token."""
    async with known_agent(server.address, tmp_path) as made:
        yield made
