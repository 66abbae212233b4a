import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from snakepit_control_plane.store.interface import SessionRecord, Store
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.store.redis import RedisStore
from support.redis_server import RedisServer, redis_server

_names = itertools.count()


@pytest.fixture(scope="session", params=["memory", "redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | None]:
    if request.param == "memory":
        yield None
        return
    with redis_server(request.param) as running:
        yield running


@pytest.fixture
async def store(server: RedisServer | None) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if server is None else RedisStore(server.url)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def pool() -> str:
    """A pool of the test's own: the servers are shared."""
    return f"default/p{next(_names)}"


@pytest.fixture
def wanted(pool: str) -> SessionRecord:
    return SessionRecord(pool, "s", f"uid-{next(_names)}", 0.0, 0.0, 60.0, 1, metadata={"owner": "me"})
