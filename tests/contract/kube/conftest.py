"""The real API server, by the operator's own client, and the pretended one that stands for it in tests of the operator's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from snakepit._names import new_id
from snakepit_operator.kube import Kube
from support.admin import Admin, equipped
from support.api_server import ADMIN, ApiServer
from support.pretend_api import PretendApi


@pytest.fixture(scope="session", params=["pretended", "real"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer | None]:
    """None: it is pretended."""
    if request.param == "pretended":
        yield None
        return
    with equipped(tmp_path_factory.mktemp("api-server")) as serving:
        yield serving


@pytest.fixture
async def kube(server: ApiServer | None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    """As the cluster's administrator."""
    if server is None:
        yield cast(Kube, PretendApi())
        return
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(ADMIN)))
    connected = await Kube.connect()
    try:
        yield connected
    finally:
        await connected.close()


@pytest.fixture
async def namespaces(server: ApiServer | None) -> list[str]:
    """Two of the test's own, in order."""
    made = sorted(f"test-{new_id()[:10].lower()}" for _ in range(2))
    for name in made if server else ():
        admin = Admin(server, name)
        await admin.make_namespace()
        await admin.close()
    return made


@pytest.fixture
def namespace(namespaces: list[str]) -> str:
    return namespaces[0]
