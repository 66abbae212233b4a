"""A server that refuses writes, and goes on with reads: its memory is full, its disk, or its replicas are gone."""

from dataclasses import replace

import pytest

from snakepit.errors import Started, StoreUnavailable
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import link_pb2
from snakepit_control_plane.store.redis import RedisStore
from support.redis_server import RedisServer
from support.stored import POOL, until, value, wanted

from .conftest import BOTH


def fill(server: RedisServer) -> None:
    """As if its memory were used up: whatever needs more is refused."""
    assert server.command("CONFIG", "SET", "maxmemory-policy", "noeviction") == b"+OK\r\n"
    assert server.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"


@BOTH
@pytest.mark.parametrize(("owner", "newcomer"), [("", ""), ("", "ada"), ("ada", "ada")])
async def test_a_full_server_refuses_writes_and_goes_on_with_reads_deletions_and_what_is_in_use(
    server: RedisServer, store: RedisStore, owner: str, newcomer: str
) -> None:
    known, _ = await store.create_session(replace(wanted("in use"), owner=owner), 10)
    await store.create_session(replace(wanted("old"), owner=owner), 10)
    await store.set_state(POOL, "in use", "k", value(b"1"), None, SessionSpec(), None)
    await store.renew_leases(POOL, {"agent": 60})
    fill(server)
    for write in (
        store.create_session(replace(wanted("new"), owner=newcomer), 10),
        store.set_state(POOL, "in use", "k", value(b"2"), None, SessionSpec(), None),
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
    (touched,) = await store.touch_sessions(POOL, {"in use": ""})
    assert touched is not None
    assert touched.last_used > known.last_used
    assert await store.renew_leases(POOL, {"agent": 60}) == []
    assert await store.delete_state(POOL, "in use", "k", None)
    assert await store.delete_session(POOL, "old") is not None
    server.command("CONFIG", "SET", "maxmemory", "0")
    await until(store, ready=True)
    await store.bind_session(known, "c/0", "i", "a")
    if owner:
        assert int(server.command("HGET", f"snakepit:{{{POOL}}}:held", owner).split()[1]) <= 1002, "what was given back is not counted"


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
    await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), None)
    refuse_writes(server, why)
    for write in (
        store.create_session(wanted("new"), 10),
        store.bind_session(known, "c/0", "i", "a"),
        store.set_state(POOL, "s", "k", value(b"2"), None, SessionSpec(), None),
        store.delete_state(POOL, "s", "k", None),
        store.touch_sessions(POOL, {"s": ""}),
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
