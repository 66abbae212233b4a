"""Sessions in a store: who gets one, how many there may be, and when they end. The same over memory, Redis and Valkey."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest

from snakepit.errors import CallerLimit, SessionNotFound, SessionQuota
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.store.interface import Store
from support.stored import LIMITS, gone, named, until_gone, value


def owned(pool: str, name: str, owner: str, ttl_seconds: float = 60.0) -> SessionRecord:
    return replace(named(pool, name, ttl_seconds), owner=owner)


async def test_create_is_idempotent_and_gives_back_the_one_that_exists(store: Store, wanted: SessionRecord) -> None:
    first, created = await store.create_session(wanted, 10)
    again, created_again = await store.create_session(replace(wanted, uid="other", metadata={}), 10)
    assert (created, created_again) == (True, False)
    assert again == first
    assert (first.uid, first.epoch, first.worker, dict(first.metadata)) == (wanted.uid, 1, "", {"owner": "me"})
    assert (first.owner, first.group) == ("ada", "staff")
    assert abs(first.created - time.time()) < 60


async def test_an_unknown_session_is_not_found_by_any_operation(store: Store, pool: str) -> None:
    for operation in (
        store.get_session(pool, "no"),
        store.unbind_session(named(pool, "no")),
        store.note_lost(named(pool, "no")),
        store.bind_session(named(pool, "no"), "w", "i", "a"),
        store.get_state(pool, "no", "k", None),
        store.set_state(pool, "no", "k", value(b"1"), None, LIMITS, None),
        store.delete_state(pool, "no", "k", None),
        store.list_state(pool, "no", None),
    ):
        with pytest.raises(SessionNotFound, match="'no'"):
            await operation
    assert await store.touch_sessions(pool, {"no": ""}) == [None]
    assert await store.delete_session(pool, "no") is None


async def test_sessions_are_listed_page_by_page_and_counted(store: Store, pool: str) -> None:
    for name in ("b", "a", "c"):
        await store.create_session(named(pool, name), 10)
    assert [s.id for s in await store.list_sessions(pool, "", 2)] == ["a", "b"]
    assert [s.id for s in await store.list_sessions(pool, "b", 2)] == ["c"]
    assert await store.count_sessions(pool) == 3
    assert await store.count_sessions("default/another") == 0


async def test_who_says_which_life_of_a_session_is_meant_touches_no_other(store: Store, wanted: SessionRecord) -> None:
    record, _ = await store.create_session(wanted, 10)
    assert await store.touch_sessions(wanted.pool, {"s": "another life"}) == [None]
    assert await store.get_session(wanted.pool, "s") == record
    (touched,) = await store.touch_sessions(wanted.pool, {"s": record.uid})
    assert touched is not None
    assert touched.last_used >= record.last_used


async def test_who_says_which_life_of_a_session_is_meant_deletes_no_other(store: Store, wanted: SessionRecord) -> None:
    record, _ = await store.create_session(wanted, 10)
    await store.set_state(wanted.pool, "s", "k", value(b"1"), None, LIMITS, None)
    assert await store.delete_session(wanted.pool, "s", "another life") is None
    assert (await store.get_session(wanted.pool, "s")).uid == record.uid
    assert await store.get_state(wanted.pool, "s", "k", None) is not None
    gone = await store.delete_session(wanted.pool, "s", record.uid)
    assert gone is not None
    assert gone.uid == record.uid
    assert await store.delete_session(wanted.pool, "s", record.uid) is None


async def test_a_deleted_session_takes_its_state_along_and_its_place_is_free(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 1)
    await store.set_state(wanted.pool, "s", "k", value(b"1"), None, LIMITS, None)
    deleted = await store.delete_session(wanted.pool, "s")
    assert deleted is not None
    assert deleted.uid == wanted.uid
    _, created = await store.create_session(replace(wanted, uid="next"), 1)
    assert created
    assert await store.get_state(wanted.pool, "s", "k", None) is None


async def test_the_quota_of_sessions_holds_under_concurrency(store: Store, pool: str) -> None:
    outcomes = await asyncio.gather(*(store.create_session(named(pool, f"s{i}"), 5) for i in range(20)), return_exceptions=True)
    refused = [each for each in outcomes if isinstance(each, SessionQuota)]
    assert (len(refused), refused[0].details["limit"]) == (15, "session.maxSessions")
    assert await store.count_sessions(pool) == 5


async def test_one_owner_fills_all_but_a_ninth_and_others_find_a_place(store: Store, pool: str) -> None:
    made = await asyncio.gather(*(store.create_session(owned(pool, f"a{i}", "ada"), 18) for i in range(40)), return_exceptions=True)
    assert sum(isinstance(each, CallerLimit) for each in made) == 24
    with pytest.raises(CallerLimit, match=r"^ada has 16 of the 18 sessions of pool .* for others \(session\.maxPerCaller\)") as refused:
        await store.create_session(owned(pool, "more", "ada"), 18)
    assert refused.value.details == {"limit": "session.maxPerCaller", "sessions": "16"}
    assert not (await store.create_session(owned(pool, "a0", "ada"), 18))[1], "one that is there is no new one"
    await store.create_session(owned(pool, "b", "bob"), 18)
    await store.create_session(owned(pool, "c", "eve"), 18)
    with pytest.raises(SessionQuota):
        await store.create_session(owned(pool, "d", "zoe"), 18)


async def test_a_place_of_an_owner_is_free_again_when_the_session_is_deleted_or_has_expired(store: Store, pool: str) -> None:
    await store.create_session(owned(pool, "kept", "ada"), 10, 3)
    await store.create_session(owned(pool, "deleted", "ada"), 10, 3)
    await store.create_session(owned(pool, "short", "ada", ttl_seconds=2), 10, 3)
    with pytest.raises(CallerLimit, match=r"^ada has 3 sessions of pool .*, as many as session\.maxPerCaller allows: delete some$"):
        await store.create_session(owned(pool, "more", "ada"), 10, 3)
    await store.delete_session(pool, "deleted")
    await until_gone(store, pool, "short")
    assert await store.count_sessions(pool) == 1
    for name in ("one", "two"):
        await store.create_session(owned(pool, name, "ada"), 10, 3)
    with pytest.raises(CallerLimit):
        await store.create_session(owned(pool, "more", "ada"), 10, 3)


async def test_who_has_no_name_has_no_bound_nor_has_anybody_of_another_pool_less(store: Store, pool: str) -> None:
    for number in range(9):
        await store.create_session(owned(pool, f"s{number}", ""), 9, 1)
    await store.create_session(owned(f"{pool}-other", "s", "ada"), 9, 1)
    await store.create_session(owned(f"{pool}-third", "s", "ada"), 9, 1)


async def test_a_session_expires_and_frees_its_place(store: Store, pool: str) -> None:
    await store.create_session(named(pool, "short", ttl_seconds=0.1), 1)
    await until_gone(store, pool, "short")
    assert await store.count_sessions(pool) == 0
    assert await store.list_sessions(pool, "", 10) == []
    await store.create_session(named(pool, "next"), 1)


async def test_touching_slides_the_ttl(store: Store, pool: str) -> None:
    await store.create_session(named(pool, "slid", ttl_seconds=3.0), 10)
    await store.create_session(named(pool, "left", ttl_seconds=3.0), 10)
    async with asyncio.timeout(20):
        while not await gone(store, pool, "left"):
            assert (await store.touch_sessions(pool, {"slid": ""}))[0] is not None
            await asyncio.sleep(0.1)
    assert (await store.touch_sessions(pool, {"slid": ""}))[0] is not None


async def test_writing_state_slides_the_ttl_and_reading_does_not(store: Store, pool: str) -> None:
    for name in ("written", "read"):
        await store.create_session(named(pool, name, ttl_seconds=3.0), 10)
    async with asyncio.timeout(20):
        while not await gone(store, pool, "read"):
            await store.set_state(pool, "written", "k", value(b"1"), None, LIMITS, None)
            with contextlib.suppress(SessionNotFound):
                await store.get_state(pool, "read", "k", None)
            await asyncio.sleep(0.1)
    assert (await store.get_session(pool, "written")).id == "written"


async def test_binding_slides_the_ttl(store: Store, pool: str) -> None:
    known, _ = await store.create_session(named(pool, "bound", ttl_seconds=3.0), 10)
    await store.create_session(named(pool, "left", ttl_seconds=3.0), 10)
    async with asyncio.timeout(20):
        while not await gone(store, pool, "left"):
            known = await store.bind_session(known, "c/0", "i0", "a0")
            await asyncio.sleep(0.1)
    assert (await store.get_session(pool, "bound")).worker == "c/0"
