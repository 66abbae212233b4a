"""What most tests of running parts begin with. A folder whose server is another program has fixtures of the same names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakepit import Client
from snakepit_control_plane.policy.rights import LOOK
from snakepit_control_plane.server import Running
from support.callers import OBSERVER, known_agent
from support.control_plane import Caller, calling, replica
from support.issuer import Issuer, issuer
from support.replica import Replica
from support.replica import replica as played
from support.reviewer import Reviewer, reviewer
from support.simulated_agent import SimulatedAgent


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


# ---- where callers need tokens and rights


@pytest.fixture
def signs(tmp_path: Path) -> Iterator[Issuer]:
    """Whoever signs tokens, for replicas that check them."""
    with issuer(tmp_path) as serving:
        yield serving


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
