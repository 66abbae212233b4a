"""What only a store over a network can go through: it is away, comes back empty, or hangs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from snakepit.errors import SessionNotFound, StoreUnavailable
from snakepit_control_plane.store.interface import SessionRecord
from snakepit_control_plane.store.redis import RedisStore
from support.redis_server import RedisServer, redis_server

POOL = "default/away"


@pytest.fixture(params=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(request.param) as running:
        yield running


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    made = RedisStore(server.url)
    await made.start()
    yield made
    await made.close()


async def until(store: RedisStore, *, ready: bool) -> None:
    async with asyncio.timeout(10):
        while bool(store.problem) is ready:
            await asyncio.sleep(0.02)


def wanted(name: str = "s") -> SessionRecord:
    return SessionRecord(POOL, name, "uid", 0.0, 0.0, 60.0, 1)


async def test_a_killed_server_fails_operations_at_once_and_its_return_is_noticed(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(wanted(), 10)
    server.kill()
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await store.get_session(POOL, "s")
    assert time.monotonic() - started < 2
    assert store.problem
    server.start()
    await until(store, ready=True)
    with pytest.raises(SessionNotFound):
        await store.get_session(POOL, "s")
    _, created = await store.create_session(wanted(), 10)
    assert created


async def test_a_server_that_hangs_costs_one_time_out_and_then_nothing(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(wanted(), 10)
    server.freeze()
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await store.get_session(POOL, "s")
    assert time.monotonic() - started < 3
    server.thaw()
    await until(store, ready=True)
    assert (await store.get_session(POOL, "s")).uid == "uid"


async def test_a_server_that_is_absent_at_the_start_is_used_when_it_comes(server: RedisServer) -> None:
    server.kill()
    store = RedisStore(server.url)
    await store.start()
    assert store.problem
    server.start()
    await until(store, ready=True)
    await store.create_session(wanted(), 10)
    await store.close()


async def test_scripts_are_loaded_again_when_the_server_has_forgotten_them(server: RedisServer, store: RedisStore) -> None:
    server.command("SCRIPT", "FLUSH")
    outcomes = await asyncio.gather(*(store.create_session(wanted(f"s{i}"), 100) for i in range(20)))
    assert all(created for _, created in outcomes)


async def test_every_key_expires_and_has_its_pools_hash_tag(server: RedisServer, store: RedisStore) -> None:
    from snakepit.v1 import common_pb2, link_pb2
    from snakepit_control_plane.store.interface import Limits

    await store.create_session(wanted(), 10)
    await store.set_state(POOL, "s", "k", common_pb2.Payload(data=b"1"), None, Limits(), None)
    await store.save_pool(link_pb2.PoolSettings(pool=POOL, uid="u", generation=1), override=True)
    await store.renew_leases(POOL, ["i"], 60)
    await store.declare_lost(POOL, "j", 60)
    keys = [line for line in server.command("KEYS", "*").decode().split("\r\n") if line.startswith("snakepit")]
    assert len(keys) == 8
    for key in keys:
        assert int(server.command("PTTL", key).decode().strip()[1:]) > 0, key
        assert key == "snakepit:pools" or key.startswith(f"snakepit:{{{POOL}}}:"), key
