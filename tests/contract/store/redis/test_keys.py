"""What lies in a server: which keys there are and for how long, and what is right after it has forgotten some of them."""

import asyncio
from dataclasses import replace

import pytest
import redis.asyncio

from snakepit.errors import CallerLimit, SessionNotFound, StaleEpoch
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.store.interface import UnreadableRecord
from snakepit_control_plane.store.redis import RedisStore
from snakepit_control_plane.store.urls import parse_store_url
from support.redis_server import RedisServer
from support.stored import POOL, value, wanted

from .conftest import BOTH


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
    assert len(keys) == 13
    for key in keys:
        assert int(server.command("PTTL", key).decode().strip()[1:]) > 0, key
        assert key == "snakepit:pools" or key.startswith(f"snakepit:{{{POOL}}}:"), key


@BOTH
async def test_what_an_owner_has_is_known_as_long_as_its_sessions_are_there(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(replace(wanted(), owner="ada"), 10)
    await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), None)
    for counts in ("owners", "owned", "sizes", "held"):
        assert server.command("PEXPIRE", f"snakepit:{{{POOL}}}:{counts}", "60000") == b":1\r\n"
    await store.touch_sessions(POOL, {"s": ""})
    for counts in ("owners", "owned", "sizes", "held"):
        left = int(server.command("PTTL", f"snakepit:{{{POOL}}}:{counts}").decode().strip()[1:])
        assert left > 100_000, counts


async def test_who_ends_a_session_is_given_back_nothing_that_was_never_its_own(server: RedisServer, store: RedisStore) -> None:
    held = f"snakepit:{{{POOL}}}:held"
    await store.create_session(replace(wanted("s"), owner="ada"), 10)
    for time in ("first", "second"):
        server.command("HSET", f"snakepit:{{{POOL}}}:sizes", "t", "900")
        await store.create_session(replace(wanted("t"), owner="ada"), 10)
        await store.delete_session(POOL, "t")
        assert server.command("HGET", held, "ada").endswith(b"\r\n1002\r\n"), time


async def test_who_has_no_session_holds_nothing_whatever_a_replica_that_does_not_count_bytes_has_left(
    server: RedisServer, store: RedisStore
) -> None:
    held = f"snakepit:{{{POOL}}}:held"
    await store.create_session(replace(wanted("s"), owner="bob"), 10)
    server.command("HSET", held, "ada", "1000000000")
    await store.create_session(replace(wanted("t"), owner="ada"), 10)
    assert server.command("HGET", held, "ada").endswith(b"\r\n1002\r\n")


async def test_who_holds_more_than_a_new_limit_allows_may_hold_less_and_not_more(server: RedisServer, store: RedisStore) -> None:
    await store.create_session(replace(wanted(), owner="ada"), 10)
    await store.set_state(POOL, "s", "k", value(b"1" * 5000), None, SessionSpec(), None)
    lower = RedisStore(parse_store_url(server.url), 2_000)
    await lower.start()
    await lower.set_state(POOL, "s", "k", value(b"1" * 4000), None, SessionSpec(), None)
    with pytest.raises(CallerLimit):
        await lower.set_state(POOL, "s", "k", value(b"1" * 4001), None, SessionSpec(), None)
    await lower.close()


@BOTH
async def test_counts_of_bytes_that_a_server_has_forgotten_are_too_low_and_never_too_high(server: RedisServer, store: RedisStore) -> None:
    held = f"snakepit:{{{POOL}}}:held"
    for name in ("s", "t"):
        await store.create_session(replace(wanted(name), owner="ada"), 10)
        await store.set_state(POOL, name, "k", value(b"1" * 1000), None, SessionSpec(), None)
        await store.set_state(POOL, name, "j", value(b"1" * 1000), None, SessionSpec(), None)
    assert server.command("HGET", held, "ada").endswith(b"\r\n6472\r\n")
    server.command("DEL", f"snakepit:{{{POOL}}}:sizes")
    await store.set_state(POOL, "t", "k", value(b"1" * 1500), None, SessionSpec(), None)
    assert server.command("HGET", held, "ada").endswith(b"\r\n500\r\n")
    await store.delete_state(POOL, "t", "j", None)
    await store.delete_state(POOL, "t", "k", None)
    assert server.command("HGET", held, "ada").endswith(b"\r\n0\r\n")
    await store.delete_session(POOL, "s")
    await store.delete_session(POOL, "t")
    assert server.command("KEYS", held) == b"*0\r\n"


@BOTH
async def test_a_key_that_goes_from_a_session_whose_bytes_are_not_counted_leaves_no_count_that_stays(
    server: RedisServer, store: RedisStore
) -> None:
    await store.create_session(replace(wanted(), owner="ada"), 10)
    await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), None)
    server.command("DEL", f"snakepit:{{{POOL}}}:sizes", f"snakepit:{{{POOL}}}:held")
    await store.delete_state(POOL, "s", "k", None)
    for counts in ("sizes", "held"):
        assert server.command("PTTL", f"snakepit:{{{POOL}}}:{counts}") == b":-2\r\n", counts


@BOTH
async def test_a_session_that_the_server_has_lost_is_told_from_one_that_was_deleted(server: RedisServer, store: RedisStore) -> None:
    for name in ("deleted", "lost"):
        await store.create_session(replace(wanted(), id=name), 10)
    await store.delete_session(POOL, "deleted")
    server.command("DEL", f"snakepit:{{{POOL}}}:session:lost")
    assert await store.touch_sessions(POOL, {"deleted": "", "lost": ""}) == [None, None]
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
    bound, _ = await store.create_session(replace(wanted(), ttl_seconds=2.0), 10)
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
    for counts in ("own*", "sizes", "held"):
        left = server.command("KEYS", f"snakepit:{{{POOL}}}:{counts}").decode()
        assert left == "*0\r\n", "no count of an owner without sessions is kept"


@BOTH
async def test_a_session_that_is_made_anew_where_it_was_lost_counts_once(server: RedisServer, store: RedisStore) -> None:
    own = replace(wanted("s"), owner="ada")
    await store.create_session(replace(own, id="other"), 10, 2)
    for _ in range(3):
        server.command("DEL", f"snakepit:{{{POOL}}}:session:s")
        assert (await store.create_session(own, 10, 3))[1]
    assert server.command("HGET", f"snakepit:{{{POOL}}}:owned", "ada").endswith(b"2\r\n")


async def test_a_flushed_server_admits_nobody_old(server: RedisServer, store: RedisStore) -> None:
    record, _ = await store.create_session(wanted(), 10)
    server.command("FLUSHALL")
    with pytest.raises(SessionNotFound):
        await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), record.fence)
    again, created = await store.create_session(replace(wanted(), uid="next life"), 10)
    assert created
    assert again.epoch == record.epoch
    with pytest.raises(StaleEpoch):
        await store.set_state(POOL, "s", "k", value(b"1"), None, SessionSpec(), record.fence)
    assert not store.problem


@pytest.mark.parametrize("garbage", [("HSET", "epoch", "one"), ("HSET", "ttl", "one"), ("HSET", "created", "9" * 400), ("HDEL", "id")])
async def test_a_session_whose_record_cant_be_read_says_so_and_can_be_deleted(
    server: RedisServer, store: RedisStore, garbage: tuple[str, ...]
) -> None:
    """A stranger, or another release, has written to it; the pool's other sessions are touched all the same."""
    for name in ("s", "t"):
        await store.create_session(wanted(name), 10)
    command, *fields = garbage
    server.command(command, f"snakepit:{{{POOL}}}:session:s", *fields)
    with pytest.raises(UnreadableRecord, match=r"record of session 's' of pool default/test can't be read .*: whoever may delete"):
        await store.get_session(POOL, "s")
    broken, whole = await store.touch_sessions(POOL, {"s": "", "t": ""})
    assert broken is None
    assert whole is not None
    assert await store.delete_session(POOL, "s") is not None
    assert [each.id for each in await store.list_sessions(POOL, "", 10)] == ["t"]
