"""The operator's own code against a real API server without nodes: scheduler, kubelet and garbage collector are played by the test.

It logs in as the operator of the chart does, with the chart's rights.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from snakepit_operator.kube import Kube
from support.admin import Admin, equipped, namespaced
from support.api_server import OPERATOR, ApiServer
from support.gate import Gate, gate
from support.go_tools import BUILD_SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test may have to build the API server. A kopf that is told to end while it begins leaves its requests to the collector."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS + 60))
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What kopf left is collected here, not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with equipped(tmp_path_factory.mktemp("api-server")) as serving:
        yield serving


@pytest.fixture
async def admin(server: ApiServer) -> AsyncIterator[Admin]:
    """In a new namespace."""
    async with namespaced(server) as made:
        yield made


@pytest.fixture
async def door(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    """Between the operator, which KUBECONFIG leads here, and the API server."""
    async with gate(server.port) as made:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(OPERATOR, f"https://127.0.0.1:{made.port}")))
        yield made


@pytest.fixture
async def kube(door: Gate) -> AsyncIterator[Kube]:
    connected = await Kube.connect()
    try:
        yield connected
    finally:
        await connected.close()
        await asyncio.sleep(0)
