"""What only a store over a network can go through: it is away, hangs, or is busy with something else; and it comes back."""

import asyncio
import contextlib
import socket
import time

import pytest

from snakepit.errors import SessionNotFound, Started, StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit_control_plane.store import client, connection
from snakepit_control_plane.store.connection import ANSWER_SECONDS
from snakepit_control_plane.store.redis import RedisStore
from snakepit_control_plane.store.urls import parse_store_url
from support.redis_server import RedisServer, redis_server
from support.stored import POOL, until, value, wanted

from .conftest import BOTH


@pytest.fixture
def patient() -> None:
    """Of how long a server that hangs is waited for, some of these tests are."""


@BOTH
async def test_a_killed_server_fails_operations_at_once_and_its_return_is_noticed(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(wanted(), 10)
    server.kill()
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreUnavailable):
            await store.get_session(POOL, "s")
    assert time.monotonic() - started < 10 * ANSWER_SECONDS, "not one in ten waited"
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
    took = []
    for _ in range(50):
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.get_session(POOL, "s")
        took.append(time.monotonic() - started)
    assert [each for each in took if each > ANSWER_SECONDS / 2] == took[:1]
    server.thaw()
    await until(store, ready=True)
    assert (await store.get_session(POOL, "s")).uid == "uid"


async def test_a_server_that_is_absent_at_the_start_is_used_when_it_comes(server: RedisServer) -> None:
    server.kill()
    store = RedisStore(parse_store_url(server.url))
    await store.start()
    assert store.problem
    server.start()
    await until(store, ready=True)
    await store.create_session(wanted(), 10)
    await store.close()


@BOTH
async def test_a_server_that_was_made_a_replica_is_away_until_it_is_none(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(wanted(), 10)
    server.command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match=r"(?i)read.only"):
        await store.create_session(wanted("t"), 10)
    assert store.problem
    server.command("REPLICAOF", "NO", "ONE")
    await until(store, ready=True)
    await store.create_session(wanted("t"), 10)


@BOTH
async def test_a_server_that_is_busy_with_somebodys_script_is_away_until_it_ends(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(wanted(), 10)
    server.command("CONFIG", "SET", "lua-time-limit", "50")
    with socket.create_connection(("127.0.0.1", server.port)) as other:
        other.sendall(b"*3\r\n$4\r\nEVAL\r\n$18\r\nwhile true do end \r\n$1\r\n0\r\n")
        async with asyncio.timeout(10):
            while not server.command("PING").startswith(b"-BUSY"):
                await asyncio.sleep(0.02)
        with pytest.raises(StoreUnavailable, match="BUSY"):
            await store.get_session(POOL, "s")
        assert store.problem
        assert server.command("SCRIPT", "KILL") == b"+OK\r\n"
    await until(store, ready=True)
    assert (await store.get_session(POOL, "s")).uid == "uid"


async def test_a_server_that_still_loads_its_data_is_away_until_it_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 20.0)
    monkeypatch.setattr(client, "ANSWER_SECONDS", 20.0)  # To 500 sessions at once, on a busy machine.
    with redis_server("valkey") as server:
        store = RedisStore(parse_store_url(server.url))
        await store.start()
        await asyncio.gather(*(store.create_session(wanted(f"s{n}"), 1000) for n in range(500)))
        assert server.command("SAVE") == b"+OK\r\n"
        server.kill()
        server.options = ("--key-load-delay", "8000", "--loading-process-events-interval-bytes", "1024")
        server.start(wait=False)
        async with asyncio.timeout(10):
            while "loading" not in store.problem.lower():
                with contextlib.suppress(StoreUnavailable):
                    await store.get_session(POOL, "s0")
                await asyncio.sleep(0.02)
        await until(store, ready=True, seconds=30)
        assert (await store.get_session(POOL, "s499")).uid == "uid"
        await store.close()


async def test_a_write_that_was_sent_and_not_answered_may_have_happened_and_is_not_sent_again(
    server: RedisServer, store: RedisStore
) -> None:
    await store.create_session(wanted(), 10)
    server.freeze()
    with pytest.raises(StoreUnavailable) as unknown:
        await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), None)
    with pytest.raises(StoreUnavailable) as unsent:
        await store.set_state(POOL, "s", "k", value(b"2"), None, SessionSpec(), None)
    assert (unknown.value.started, unsent.value.started) == (Started.MAYBE, Started.NO)
    server.thaw()
    await until(store, ready=True)
    stored = await store.get_state(POOL, "s", "k", None)
    assert stored is None or stored.version == 1


async def test_more_than_may_wait_is_refused_instead_of_kept(
    server: RedisServer, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MOST_QUEUED_BYTES", 2**18)
    await store.create_session(wanted(), 10)
    server.freeze()
    writes = [store.set_state(POOL, "s", "k", value(bytes(2**15)), None, SessionSpec(), None) for _ in range(12)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    assert sum("too many" in str(each) for each in outcomes) == 4
    server.thaw()
    await until(store, ready=True)
