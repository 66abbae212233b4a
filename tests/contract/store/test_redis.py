"""What only a store over a network can go through: it is away, comes back empty, or hangs."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from snakepit.errors import SessionNotFound, SnakepitError, StaleEpoch, Started, StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.store import client
from snakepit_control_plane.store.redis import RedisStore
from snakepit_control_plane.store.urls import parse_store_url
from support.redis_server import RedisServer, redis_server

POOL = "default/away"


BOTH = pytest.mark.parametrize("server", ["redis", "valkey"], indirect=True)
"""Where the two word things differently."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with redis_server(getattr(request, "param", "redis")) as running:
        yield running


@pytest.fixture
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    made = RedisStore(parse_store_url(server.url))
    await made.start()
    yield made
    await made.close()


async def until(store: RedisStore, *, ready: bool) -> None:
    async with asyncio.timeout(10):
        while bool(store.problem) is ready:
            await asyncio.sleep(0.02)


def wanted(name: str = "s") -> SessionRecord:
    return SessionRecord(POOL, name, "uid", 0.0, 0.0, 60.0, 1)


@BOTH
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
    store = RedisStore(parse_store_url(server.url))
    await store.start()
    assert store.problem
    server.start()
    await until(store, ready=True)
    await store.create_session(wanted(), 10)
    await store.close()


@BOTH
async def test_scripts_are_loaded_again_when_the_server_has_forgotten_them(server: RedisServer, store: RedisStore) -> None:
    server.command("SCRIPT", "FLUSH")
    outcomes = await asyncio.gather(*(store.create_session(wanted(f"s{i}"), 100) for i in range(20)))
    assert all(created for _, created in outcomes)


@BOTH
async def test_every_key_expires_and_has_its_pools_hash_tag(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(replace(wanted(), owner="ada"), 10)
    await store.set_state(POOL, "s", "k", common_pb2.Payload(data=b"1"), None, SessionSpec(), None)
    await store.save_pool(link_pb2.PoolSettings(pool=POOL, uid="u", generation=1), override=True)
    await store.renew_leases(POOL, {"i": 60})
    await store.declare_lost(POOL, "j", 60)
    keys = {line for line in server.command("KEYS", "*").decode().split("\r\n") if line.startswith("snakepit")} - {"snakepit:{probe}"}
    assert len(keys) == 11
    for key in keys:
        assert int(server.command("PTTL", key).decode().strip()[1:]) > 0, key
        assert key == "snakepit:pools" or key.startswith(f"snakepit:{{{POOL}}}:"), key


@BOTH
async def test_a_session_that_the_server_has_lost_is_told_from_one_that_was_deleted(server: RedisServer, store: RedisStore) -> None:
    for name in ("deleted", "lost"):
        await store.create_session(replace(wanted(), id=name), 10)
    await store.delete_session(POOL, "deleted")
    server.command("DEL", f"snakepit:{{{POOL}}}:session:lost")
    assert await store.touch_sessions(POOL, ["deleted", "lost"]) == [None, None]
    assert await store.were_deleted(POOL, ["deleted", "lost"]) == [True, False]
    assert int(server.command("PTTL", f"snakepit:{{{POOL}}}:deleted").decode().strip()[1:]) > 0


async def test_where_too_many_were_deleted_to_know_each_nobody_was_lost(server: RedisServer, store: RedisStore) -> None:
    for first in range(0, 10_000, 500):
        filling = [str(each) for number in range(first, first + 500) for each in (number, f"s{number}")]
        server.command("ZADD", f"snakepit:{{{POOL}}}:deleted", *filling)
    assert await store.were_deleted(POOL, ["s7", "another"]) == [True, True]
    await store.create_session(wanted(), 10)
    await store.delete_session(POOL, "s")
    assert await store.were_deleted(POOL, ["s7", "s"]) == [False, True], "those of a minute ago are forgotten"


async def test_of_the_ends_that_nobody_takes_the_last_ten_thousand_are_kept(server: RedisServer, store: RedisStore) -> None:
    bound, _ = await store.create_session(replace(wanted(), ttl_seconds=1.0), 10)
    await store.bind_session(bound, "c/0", "i0", "a0")
    ended = f"snakepit:{{{POOL}}}:ended"
    async with redis.asyncio.Redis(port=server.port) as direct:
        await direct.rpush(ended, *(f"{number}\nuid\nc/0\ni0" for number in range(1, 10_051)))
    async with asyncio.timeout(10):
        while await store.count_sessions(POOL):
            await asyncio.sleep(0.02)
    assert server.command("LLEN", ended) == b":10000\r\n"
    oldest, *_ = await store.take_ended(POOL, 1)
    assert (oldest.id, oldest.worker) == ("52", "c/0"), "the oldest go first, and one has come"


@BOTH
async def test_what_a_server_has_forgotten_of_a_pools_sessions_is_nobodys(server: RedisServer, store: RedisStore) -> None:
    """As one that evicts does: the sessions and their list are gone, and whose they were is still there."""
    own = replace(wanted("s"), owner="ada")
    await store.create_session(own, 10, 1)
    server.command("DEL", f"snakepit:{{{POOL}}}:session:s", f"snakepit:{{{POOL}}}:expiry")
    await store.create_session(replace(own, id="t"), 10, 1)
    await store.delete_session(POOL, "t")
    left = server.command("KEYS", f"snakepit:{{{POOL}}}:own*").decode()
    assert left == "*0\r\n", "no count of an owner without sessions is kept"


@BOTH
async def test_a_session_that_is_made_anew_where_it_was_lost_counts_once(server: RedisServer, store: RedisStore) -> None:
    own = replace(wanted("s"), owner="ada")
    await store.create_session(replace(own, id="other"), 10, 2)
    for _ in range(3):
        server.command("DEL", f"snakepit:{{{POOL}}}:session:s")
        assert (await store.create_session(own, 10, 3))[1]
    assert server.command("HGET", f"snakepit:{{{POOL}}}:owned", "ada").endswith(b"2\r\n")


def payload(data: bytes) -> common_pb2.Payload:
    return common_pb2.Payload(content_type="application/json", data=data)


async def fill(server: RedisServer) -> None:
    """As if its memory were used up: whatever needs more is refused."""
    assert server.command("CONFIG", "SET", "maxmemory-policy", "noeviction") == b"+OK\r\n"
    assert server.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"


@BOTH
async def test_a_full_server_refuses_writes_and_goes_on_with_reads_deletions_and_what_is_in_use(
    server: RedisServer, store: RedisStore
) -> None:
    known, _ = await store.create_session(wanted("in use"), 10)
    await store.create_session(wanted("old"), 10)
    await store.set_state(POOL, "in use", "k", payload(b"1"), None, SessionSpec(), None)
    await store.renew_leases(POOL, {"agent": 60})
    await fill(server)
    for write in (
        store.create_session(wanted("new"), 10),
        store.set_state(POOL, "in use", "k", payload(b"2"), None, SessionSpec(), None),
        store.bind_session(known, "c/0", "i", "a"),
        store.save_pool(link_pb2.PoolSettings(pool=POOL, uid="u", generation=1), override=True),
    ):
        with pytest.raises(StoreUnavailable, match="maxmemory") as refused:
            await write
        assert refused.value.started is Started.NO
    assert "maxmemory" in store.problem
    stored = await store.get_state(POOL, "in use", "k", None)
    assert stored is not None
    assert stored.value.data == b"1"
    (touched,) = await store.touch_sessions(POOL, ["in use"])
    assert touched is not None
    assert touched.last_used > known.last_used
    assert await store.renew_leases(POOL, {"agent": 60}) == []
    assert await store.delete_state(POOL, "in use", "k", None)
    assert await store.delete_session(POOL, "old") is not None
    server.command("CONFIG", "SET", "maxmemory", "0")
    await until(store, ready=True)
    await store.bind_session(known, "c/0", "i", "a")


def refuse_writes(server: RedisServer, why: str) -> None:
    """As on a full disk, or when all replicas are gone."""
    if why == "NOREPLICAS":
        assert server.command("CONFIG", "SET", "min-replicas-to-write", "1") == b"+OK\r\n"
        return
    (server.folder / "dump.rdb" / "in the way").mkdir(parents=True)
    assert server.command("CONFIG", "SET", "save", '"3600 1"') == b"+OK\r\n"
    server.command("BGSAVE")
    server.until(lambda: b"rdb_last_bgsave_status:err" in server.command("INFO", "persistence"), "a snapshot has failed")


@pytest.mark.parametrize(("server", "why"), [("redis", "MISCONF"), ("valkey", "MISCONF"), ("valkey", "NOREPLICAS")], indirect=["server"])
async def test_a_server_that_refuses_all_writes_goes_on_with_reads(server: RedisServer, store: RedisStore, why: str) -> None:
    known, _ = await store.create_session(wanted(), 10)
    await store.set_state(POOL, "s", "k", payload(b"1"), None, SessionSpec(), None)
    refuse_writes(server, why)
    for write in (
        store.create_session(wanted("new"), 10),
        store.bind_session(known, "c/0", "i", "a"),
        store.set_state(POOL, "s", "k", payload(b"2"), None, SessionSpec(), None),
        store.delete_state(POOL, "s", "k", None),
        store.touch_sessions(POOL, ["s"]),
        store.delete_session(POOL, "s"),
    ):
        with pytest.raises(StoreUnavailable, match=why) as refused:
            await write
        assert refused.value.started is Started.NO
    assert why in store.problem
    stored = await store.get_state(POOL, "s", "k", None)
    assert stored is not None
    assert stored.value.data == b"1"
    server.command("CONFIG", "SET", "min-replicas-to-write", "0")
    server.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await until(store, ready=True)
    assert (await store.bind_session(known, "c/0", "i", "a")).worker == "c/0"


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


async def test_a_server_that_still_loads_its_data_is_away_until_it_has_them(tmp_path: Path) -> None:
    with redis_server("valkey") as server:
        store = RedisStore(parse_store_url(server.url))
        await store.start()
        await asyncio.gather(*(store.create_session(wanted(f"s{n}"), 1000) for n in range(500)))
        assert server.command("SAVE") == b"+OK\r\n"
        server.kill()
        server.options = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
        server.start(wait=False)
        async with asyncio.timeout(10):
            while "loading" not in store.problem.lower():
                with contextlib.suppress(StoreUnavailable):
                    await store.get_session(POOL, "s0")
                await asyncio.sleep(0.02)
        await until(store, ready=True)
        assert (await store.get_session(POOL, "s499")).uid == "uid"
        await store.close()


async def test_a_flushed_server_admits_nobody_old(server: RedisServer, store: RedisStore) -> None:
    record, _ = await store.create_session(wanted(), 10)
    server.command("FLUSHALL")
    with pytest.raises(SessionNotFound):
        await store.set_state(POOL, "s", "k", payload(b"1"), None, SessionSpec(), record.fence)
    again, created = await store.create_session(replace(wanted(), uid="next life"), 10)
    assert created
    assert again.epoch == record.epoch
    with pytest.raises(StaleEpoch):
        await store.set_state(POOL, "s", "k", payload(b"1"), None, SessionSpec(), record.fence)
    assert not store.problem


async def test_a_write_that_was_sent_and_not_answered_may_have_happened_and_is_not_sent_again(
    server: RedisServer, store: RedisStore
) -> None:
    await store.create_session(wanted(), 10)
    server.freeze()
    with pytest.raises(StoreUnavailable) as unknown:
        await store.set_state(POOL, "s", "k", payload(b"1"), None, SessionSpec(), None)
    with pytest.raises(StoreUnavailable) as unsent:
        await store.set_state(POOL, "s", "k", payload(b"2"), None, SessionSpec(), None)
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
    writes = [store.set_state(POOL, "s", "k", payload(bytes(2**15)), None, SessionSpec(), None) for _ in range(12)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in outcomes)
    assert sum("too many" in str(each) for each in outcomes) == 4
    server.thaw()
    await until(store, ready=True)


async def test_every_operation_is_measured_by_its_name(store: RedisStore) -> None:
    taken: list[tuple[str, float | None]] = []
    store.measure(lambda *told: taken.append(told))
    await store.create_session(wanted(), 10)
    await store.get_session(POOL, "s")
    await store.has_lease(POOL, "i1")
    assert [operation for operation, _ in taken] == ["create_session", "get_session", "exists"]
    assert all(seconds is not None and 0 < seconds < 5 for _, seconds in taken)


async def test_an_operation_that_the_store_does_not_answer_is_told_to_have_failed(server: RedisServer, store: RedisStore) -> None:
    taken: list[tuple[str, float | None]] = []
    store.measure(lambda *told: taken.append(told))
    server.kill()
    with pytest.raises(StoreUnavailable):
        await store.get_session(POOL, "s")
    await until(store, ready=False)
    with pytest.raises(StoreUnavailable):
        await store.create_session(wanted(), 10)
    assert taken == [("get_session", None), ("create_session", None)]


async def test_what_is_asked_in_one_turn_of_the_loop_goes_as_one_pipeline(
    store: RedisStore,
) -> None:
    await asyncio.gather(*(store.create_session(wanted(f"s{n}"), 1000) for n in range(100)))
    trips: list[set[str]] = []
    trip: set[str] = set()

    def answered(operation: str, seconds: float | None) -> None:
        """What comes in one turn of the loop came as one answer."""
        nonlocal trip
        if not trip:
            trips.append(trip)
            asyncio.get_running_loop().call_soon(forget)
        trip.add(operation)

    def forget() -> None:
        nonlocal trip
        trip = set()

    store.measure(answered)
    touching, listing = store.touch_sessions(POOL, [f"s{n}" for n in range(100)]), store.get_session(POOL, "s7")
    await asyncio.gather(touching, listing)
    assert trips == [{"touch_session", "get_session"}]


async def test_a_session_whose_record_cant_be_read_says_so_and_can_be_deleted(server: RedisServer, store: RedisStore) -> None:
    """A stranger, or another release, has written to it; the pool's other sessions are touched all the same."""
    for name in ("s", "t"):
        await store.create_session(wanted(name), 10)
    async with redis.asyncio.from_url(server.url) as stranger:
        (key,) = [key async for key in stranger.scan_iter(_type="hash") if await stranger.hget(key, "id") == b"s"]
        await stranger.hset(key, "epoch", "one")
    with pytest.raises(SnakepitError, match=r"record of session 's' of pool default/away can't be read .*: delete the session"):
        await store.get_session(POOL, "s")
    broken, whole = await store.touch_sessions(POOL, ["s", "t"])
    assert broken is None
    assert whole is not None
    assert await store.delete_session(POOL, "s") is not None
    assert [each.id for each in await store.list_sessions(POOL, "", 10)] == ["t"]
