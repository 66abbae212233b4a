"""A gateway before a control plane of the test's own process; and one before `snakepit dev`, for what real workers do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from snakepit_control_plane.server import Running
from support.dev_server import Dev, pool_file, ready_dev
from support.gateway import gateway, served

NOTES = Path(__file__).resolve().parents[3] / "examples/notes/pool.yaml"


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway(server.address) as asking:
        yield asking


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Pools `front` and `notes`."""
    front = pool_file(tmp_path_factory.mktemp("pools"), "front", "support.front:Front", replicas="1", session="{maxSessions: 50}")
    with ready_dev(front, NOTES, "--gateway", "off") as program:
        yield program


@pytest.fixture
async def pools(stage: Dev) -> AsyncIterator[httpx.AsyncClient]:
    """Asks about pools of the namespace `default`, over a real connection."""
    async with served(stage.server) as url, httpx.AsyncClient(base_url=f"{url}/v1/pools/default/", timeout=20) as asking:
        yield asking
