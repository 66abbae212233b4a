from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import snakepit
from snakepit._names import new_id
from snakepit._wire.dial import LANE_SECONDS, Lanes
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from support.attack import attacker
from support.bare_client import Client, bare_client
from support.callers import ADA, BOB, GATEWAY, put, token
from support.control_plane import Caller
from support.redis_server import RedisServer, redis_server
from support.reviewer import Reviewer
from support.simulated_agent import SimulatedAgent


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who doesn't reach a lane in half a second does without: on a busy machine that may be one handshake, and tests look at lanes."""
    monkeypatch.setitem(LANE_SECONDS, Lanes.WANTED, 20.0)


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Client]:
    """One end of a link and no more: it says what a test wants said."""
    async with bare_client(server.address) as made:
        yield made


@pytest.fixture
async def gateway(server: Running, agent: SimulatedAgent, tmp_path: Path) -> AsyncIterator[snakepit.Client]:
    """It may do nothing of its own."""
    async with snakepit.Client(server.address, token_file=put(tmp_path / "gateway", token(GATEWAY))) as made:
        yield made


@pytest.fixture
async def ada_and_bob(server: Running, asks: Reviewer) -> AsyncIterator[tuple[Caller, Caller]]:
    """Two who may call, on one connection."""
    for subject in (ADA, BOB):
        asks.give(subject, CALL)
    async with attacker(server) as channel:
        yield Caller(channel, token(ADA)), Caller(channel, token(BOB))


@pytest.fixture
def key() -> str:
    return new_id()


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """For tests that hurt it, or whose pool has settings of its own."""
    with redis_server() as running:
        yield running
