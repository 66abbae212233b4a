import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store import client, connection
from snakepit_control_plane.store.interface import Store
from support.redis_server import LOGIN, admit, cluster_rights, redis_cluster, redis_server, rights

_names = itertools.count()


@pytest.fixture(scope="session", params=["memory", "redis", "valkey", "cluster"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every kind of store, by its URL."""
    if request.param == "memory":
        yield "memory:"
    elif request.param == "cluster":
        with redis_cluster() as cluster:
            for node in cluster.nodes:
                admit(node, cluster_rights())
            yield cluster.url.replace("//", f"//{LOGIN}")
    else:
        with redis_server(request.param) as running:
            admit(running, rights())
            yield running.url.replace("//", f"//{LOGIN}")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is there, however busy the machine is: it was away when either had stood still for half a second, or for one."""
    for module in (client, connection):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 20.0)
        monkeypatch.setattr(module, "ANSWER_SECONDS", 20.0)
    monkeypatch.setattr(client, "REACH_SECONDS", 20.0)


@pytest.fixture
async def store(url: str, patient: None) -> AsyncIterator[Store]:
    made = make_store(url)
    await made.start()
    assert not made.problem
    yield made
    await made.close()


@pytest.fixture
def pool() -> str:
    """A pool of the test's own: the servers are shared."""
    return f"default/p{next(_names)}"


@pytest.fixture
def wanted(pool: str) -> SessionRecord:
    return SessionRecord(pool, "s", f"uid-{next(_names)}", 0.0, 0.0, 60.0, 1, owner="ada", group="staff", metadata={"owner": "me"})
