"""A server for each test, which it may kill, fill, or take things from."""

from collections.abc import AsyncIterator, Iterator

import pytest

from snakepit_control_plane.store.redis import RedisStore
from snakepit_control_plane.store.urls import parse_store_url
from support.redis_server import RedisServer, redis_server

BOTH = pytest.mark.parametrize("server", ["redis", "valkey"], indirect=True)
"""Where the two word things differently."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(getattr(request, "param", "redis")) as running:
        yield running


@pytest.fixture
async def store(server: RedisServer, patient: None) -> AsyncIterator[RedisStore]:
    made = RedisStore(parse_store_url(server.url))
    await made.start()
    yield made
    await made.close()
