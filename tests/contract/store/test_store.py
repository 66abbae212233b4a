"""What every store must do: the same tests over memory, Redis and Valkey."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest

from snakepit.errors import CallerLimit, SessionNotFound, SessionQuota, StaleEpoch, StateQuota
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.session import MOST_MOVES, Fence, SessionRecord
from snakepit_control_plane.store.interface import Store, Written

LIMITS = SessionSpec(max_keys=3, max_value_bytes=10, max_bytes=25)


def named(pool: str, name: str, ttl_seconds: float = 60.0) -> SessionRecord:
    return SessionRecord(pool, name, f"uid-{name}", 0.0, 0.0, ttl_seconds, 1, metadata={"owner": "me"})


def owned(pool: str, name: str, owner: str, ttl_seconds: float = 60.0) -> SessionRecord:
    return replace(named(pool, name, ttl_seconds), owner=owner)


def value(data: bytes) -> common_pb2.Payload:
    return common_pb2.Payload(content_type="application/json", data=data)


def settings(pool: str, generation: int, uid: str = "u", *, deleted: bool = False) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=pool, uid=uid, generation=generation, spec=f"{generation}", deleted=deleted)


async def gone(store: Store, pool: str, name: str) -> bool:
    try:
        await store.get_session(pool, name)
    except SessionNotFound:
        return True
    return False


async def until_gone(store: Store, pool: str, name: str) -> None:
    async with asyncio.timeout(20):
        while not await gone(store, pool, name):
            await asyncio.sleep(0.02)


class TestSessions:
    async def test_create_is_idempotent_and_gives_back_the_one_that_exists(self, store: Store, wanted: SessionRecord) -> None:
        first, created = await store.create_session(wanted, 10)
        again, created_again = await store.create_session(replace(wanted, uid="other", metadata={}), 10)
        assert (created, created_again) == (True, False)
        assert again == first
        assert (first.uid, first.epoch, first.worker, dict(first.metadata)) == (wanted.uid, 1, "", {"owner": "me"})
        assert (first.owner, first.group) == ("ada", "staff")
        assert abs(first.created - time.time()) < 60

    async def test_an_unknown_session_is_not_found_by_any_operation(self, store: Store, pool: str) -> None:
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
        assert await store.touch_sessions(pool, ["no"]) == [None]
        assert await store.delete_session(pool, "no") is None

    async def test_sessions_are_listed_page_by_page_and_counted(self, store: Store, pool: str) -> None:
        for name in ("b", "a", "c"):
            await store.create_session(named(pool, name), 10)
        assert [s.id for s in await store.list_sessions(pool, "", 2)] == ["a", "b"]
        assert [s.id for s in await store.list_sessions(pool, "b", 2)] == ["c"]
        assert await store.count_sessions(pool) == 3
        assert await store.count_sessions("default/another") == 0

    async def test_a_deleted_session_takes_its_state_along_and_its_place_is_free(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 1)
        await store.set_state(wanted.pool, "s", "k", value(b"1"), None, LIMITS, None)
        deleted = await store.delete_session(wanted.pool, "s")
        assert deleted is not None
        assert deleted.uid == wanted.uid
        _, created = await store.create_session(replace(wanted, uid="next"), 1)
        assert created
        assert await store.get_state(wanted.pool, "s", "k", None) is None

    async def test_the_quota_of_sessions_holds_under_concurrency(self, store: Store, pool: str) -> None:
        outcomes = await asyncio.gather(*(store.create_session(named(pool, f"s{i}"), 5) for i in range(20)), return_exceptions=True)
        refused = [each for each in outcomes if isinstance(each, SessionQuota)]
        assert (len(refused), refused[0].details["limit"]) == (15, "session.maxSessions")
        assert await store.count_sessions(pool) == 5

    async def test_one_owner_fills_all_but_a_ninth_and_others_find_a_place(self, store: Store, pool: str) -> None:
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

    async def test_a_place_of_an_owner_is_free_again_when_the_session_is_deleted_or_has_expired(self, store: Store, pool: str) -> None:
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

    async def test_who_has_no_name_has_no_bound_nor_has_anybody_of_another_pool_less(self, store: Store, pool: str) -> None:
        for number in range(9):
            await store.create_session(owned(pool, f"s{number}", ""), 9, 1)
        await store.create_session(owned(f"{pool}-other", "s", "ada"), 9, 1)
        await store.create_session(owned(f"{pool}-third", "s", "ada"), 9, 1)

    async def test_a_session_expires_and_frees_its_place(self, store: Store, pool: str) -> None:
        await store.create_session(named(pool, "short", ttl_seconds=0.1), 1)
        await until_gone(store, pool, "short")
        assert await store.count_sessions(pool) == 0
        assert await store.list_sessions(pool, "", 10) == []
        await store.create_session(named(pool, "next"), 1)

    async def test_touching_slides_the_ttl(self, store: Store, pool: str) -> None:
        await store.create_session(named(pool, "slid", ttl_seconds=0.6), 10)
        await store.create_session(named(pool, "left", ttl_seconds=0.6), 10)
        async with asyncio.timeout(5):
            while not await gone(store, pool, "left"):
                assert (await store.touch_sessions(pool, ["slid"]))[0] is not None
                await asyncio.sleep(0.02)
        assert (await store.touch_sessions(pool, ["slid"]))[0] is not None

    async def test_writing_state_slides_the_ttl_and_reading_does_not(self, store: Store, pool: str) -> None:
        for name in ("written", "read"):
            await store.create_session(named(pool, name, ttl_seconds=0.6), 10)
        async with asyncio.timeout(5):
            while not await gone(store, pool, "read"):
                await store.set_state(pool, "written", "k", value(b"1"), None, LIMITS, None)
                with contextlib.suppress(SessionNotFound):
                    await store.get_state(pool, "read", "k", None)
                await asyncio.sleep(0.02)
        assert (await store.get_session(pool, "written")).id == "written"

    async def test_binding_slides_the_ttl(self, store: Store, pool: str) -> None:
        known, _ = await store.create_session(named(pool, "bound", ttl_seconds=0.6), 10)
        await store.create_session(named(pool, "left", ttl_seconds=0.6), 10)
        async with asyncio.timeout(5):
            while not await gone(store, pool, "left"):
                known = await store.bind_session(known, "c/0", "i0", "a0")
                await asyncio.sleep(0.02)
        assert (await store.get_session(pool, "bound")).worker == "c/0"


class TestBinding:
    async def test_two_simultaneous_first_binds_meet_on_one_worker(self, store: Store, wanted: SessionRecord) -> None:
        known, _ = await store.create_session(wanted, 10)
        one, two = await asyncio.gather(store.bind_session(known, "c/0", "i0", "a0"), store.bind_session(known, "c/1", "i1", "a1"))
        assert (one.worker, one.incarnation, one.agent, one.epoch) == (two.worker, two.incarnation, two.agent, two.epoch)
        assert one.epoch == 1

    async def test_moving_grows_the_epoch_by_one_and_only_from_what_is_known(self, store: Store, wanted: SessionRecord) -> None:
        known, _ = await store.create_session(wanted, 10)
        bound = await store.bind_session(known, "c/0", "i0", "a")
        moved = await store.bind_session(bound, "c/1", "i1", "a")
        late = await store.bind_session(bound, "c/2", "i2", "a")
        assert (moved.worker, moved.epoch) == ("c/1", 2)
        assert (late.worker, late.epoch) == ("c/1", 2)

    async def test_each_epoch_but_the_first_has_a_reason_and_the_latest_are_kept(self, store: Store, wanted: SessionRecord) -> None:
        record, _ = await store.create_session(wanted, 10)
        began = record.created
        record = await store.bind_session(record, "c/0", "i0", "a", "unheard of: it was bound to none")
        assert record.moves == ()
        record = await store.bind_session(record, "c/1", "i1", "a", "crashed")
        late = await store.bind_session(replace(record, epoch=1), "c/2", "i2", "a", "oom")
        record = await store.unbind_session(record)
        record = await store.bind_session(record, "c/2", "i2", "a", "lost")
        assert [(each.epoch, each.why, each.worker) for each in record.moves] == [(3, "rebind", "c/1"), (2, "crashed", "c/0")]
        assert late.moves == record.moves[1:], "who came late has moved nothing"
        for at in range(MOST_MOVES):
            record = await store.bind_session(record, f"c/{at}", f"life {at}", "a", "scaled down")
        assert [each.epoch for each in record.moves] == list(range(record.epoch, record.epoch - MOST_MOVES, -1))
        assert {each.why for each in record.moves} == {"scaled down"}
        assert all(began <= each.at <= record.last_used for each in record.moves)
        assert (await store.get_session(wanted.pool, wanted.id)).moves == record.moves

    async def test_unbinding_goes_over_to_the_next_epoch_and_only_from_what_is_known(self, store: Store, wanted: SessionRecord) -> None:
        known, _ = await store.create_session(wanted, 10)
        bound = await store.bind_session(known, "c/0", "i0", "a")
        other = await store.unbind_session(known)
        free = await store.unbind_session(bound)
        again = await store.bind_session(free, "c/1", "i1", "a")
        late = await store.unbind_session(bound)
        assert (other.worker, other.epoch) == ("c/0", 1)
        assert (free.worker, free.agent, free.epoch) == ("", "", 2)
        assert (again.worker, again.epoch) == ("c/1", 2)
        assert (late.worker, late.epoch) == ("c/1", 2)

    async def test_that_a_worker_is_gone_for_good_is_said_first_by_one_and_anew_of_each_binding(
        self, store: Store, wanted: SessionRecord
    ) -> None:
        known, _ = await store.create_session(wanted, 10)
        bound = await store.bind_session(known, "c/0", "i0", "a")
        assert sorted(await asyncio.gather(*(store.note_lost(bound) for _ in range(3)))) == [False, False, True]
        moved = await store.bind_session(bound, "c/1", "i1", "a")
        assert [await store.note_lost(each) for each in (known, bound, moved, moved)] == [False, False, True, False]
        assert await store.get_session(wanted.pool, wanted.id) == moved

    async def test_the_worker_of_a_session_that_has_expired_is_told_once(self, store: Store, pool: str) -> None:
        for name in ("bound", "freed", "unbound", "deleted"):
            known, _ = await store.create_session(named(pool, name, ttl_seconds=0.1), 10)
            if name != "unbound":
                known = await store.bind_session(known, "c/0", "i0", "a")
            if name == "freed":
                await store.unbind_session(known)
        await store.delete_session(pool, "deleted")
        await until_gone(store, pool, "bound")
        await until_gone(store, pool, "freed")
        taken = await asyncio.gather(store.take_ended(pool, 10), store.take_ended(pool, 10))
        assert [(e.pool, e.id, e.uid, e.worker, e.incarnation) for each in taken for e in each] == [
            (pool, "bound", "uid-bound", "c/0", "i0")
        ]


class TestState:
    async def test_versions_start_at_one_and_grow(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        versions = [(await store.set_state(wanted.pool, "s", "k", value(b"%d" % i), None, LIMITS, None)).version for i in range(3)]
        stored = await store.get_state(wanted.pool, "s", "k", None)
        assert versions == [1, 2, 3]
        assert stored is not None
        assert (stored.version, stored.value.data, stored.value.content_type) == (3, b"2", "application/json")

    async def test_any_bytes_come_back_as_they_were(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        data = b"a:b\x00\xff:"
        await store.set_state(wanted.pool, "s", "k:1", value(data), None, LIMITS, None)
        stored = await store.get_state(wanted.pool, "s", "k:1", None)
        assert stored is not None
        assert stored.value.data == data

    async def test_compare_and_set_reports_a_conflict_with_the_version_that_is_there(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        created = await store.set_state(wanted.pool, "s", "k", value(b"1"), 0, LIMITS, None)
        conflict = await store.set_state(wanted.pool, "s", "k", value(b"2"), 0, LIMITS, None)
        written = await store.set_state(wanted.pool, "s", "k", value(b"3"), 1, LIMITS, None)
        assert (created.done, created.version) == (True, 1)
        assert (conflict.done, conflict.version) == (False, 1)
        assert (written.done, written.version) == (True, 2)

    async def test_of_many_compare_and_sets_over_one_version_one_wins(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        outcomes = await asyncio.gather(*(store.set_state(wanted.pool, "s", "k", value(b"%d" % i), 0, LIMITS, None) for i in range(20)))
        assert sum(outcome.done for outcome in outcomes) == 1

    async def test_a_fenced_worker_can_neither_read_nor_write(self, store: Store, wanted: SessionRecord) -> None:
        record, _ = await store.create_session(wanted, 10)
        await store.set_state(wanted.pool, "s", "k", value(b"1"), None, LIMITS, record.fence)
        for fence, why in ((Fence(record.uid, 2), "has moved to another worker"), (Fence("another life", 1), "lost with the store")):
            for operation in (
                store.get_state(wanted.pool, "s", "k", fence),
                store.set_state(wanted.pool, "s", "k", value(b"2"), None, LIMITS, fence),
                store.delete_state(wanted.pool, "s", "k", fence),
                store.list_state(wanted.pool, "s", fence),
            ):
                with pytest.raises(StaleEpoch, match=why):
                    await operation

    async def test_keys_are_listed_and_deleted(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        for key in ("b", "a"):
            await store.set_state(wanted.pool, "s", key, value(b"123"), None, LIMITS, None)
        listed = await store.list_state(wanted.pool, "s", None)
        assert [(k.key, k.version, k.size_bytes) for k in listed] == [("a", 1, 3), ("b", 1, 3)]
        assert await store.delete_state(wanted.pool, "s", "a", None)
        assert not await store.delete_state(wanted.pool, "s", "a", None)
        assert [k.key for k in await store.list_state(wanted.pool, "s", None)] == ["b"]

    async def test_a_key_that_was_deleted_and_set_again_has_a_version_that_it_never_had(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)

        async def put(data: bytes, expected: int | None = None) -> Written:
            return await store.set_state(wanted.pool, "s", "k", value(data), expected, LIMITS, None)

        seen = [(await put(b"1")).version, (await put(b"2")).version]
        await store.delete_state(wanted.pool, "s", "k", None)
        seen.append((await put(b"3", expected=0)).version)
        assert not (await put(b"old", expected=1)).done
        await store.delete_state(wanted.pool, "s", "k", None)
        assert not (await put(b"old", expected=3)).done
        seen.append((await put(b"4")).version)
        assert seen == sorted(set(seen))

    @pytest.mark.parametrize(
        ("written", "details"),
        [
            ([("a", 11)], {"limit": "session.maxValueBytes", "bytes": "10"}),
            ([("a", 1), ("b", 1), ("c", 1), ("d", 1)], {"limit": "session.maxKeys", "keys": "3"}),
            ([("a", 10), ("b", 10), ("c", 6)], {"limit": "session.maxBytes", "bytes": "25"}),
        ],
        ids=["value too large", "too many keys", "too much in all"],
    )
    async def test_quotas_refuse_what_goes_beyond_and_name_the_limit_and_what_it_allows(
        self, store: Store, wanted: SessionRecord, written: list[tuple[str, int]], details: dict[str, str]
    ) -> None:
        await store.create_session(wanted, 10)
        *fine, (key, size) = written
        for each, length in fine:
            await store.set_state(wanted.pool, "s", each, value(b"x" * length), None, LIMITS, None)
        with pytest.raises(StateQuota) as refused:
            await store.set_state(wanted.pool, "s", key, value(b"x" * size), None, LIMITS, None)
        assert refused.value.details == details
        assert details["limit"] in refused.value.message

    @pytest.mark.parametrize(
        ("size", "fit", "limit"), [(1, 3, "session.maxKeys"), (9, 2, "session.maxBytes")], ids=["too many keys", "too much in all"]
    )
    async def test_quotas_of_state_hold_under_concurrency_and_free_up(
        self, store: Store, wanted: SessionRecord, size: int, fit: int, limit: str
    ) -> None:
        await store.create_session(wanted, 10)

        async def put(key: str) -> object:
            return await store.set_state(wanted.pool, "s", key, value(b"x" * size), None, LIMITS, None)

        for _ in range(3):
            outcomes = await asyncio.gather(*(put(f"k{number}") for number in range(20)), return_exceptions=True)
            refused = [each for each in outcomes if isinstance(each, StateQuota)]
            assert (len(refused), {each.details["limit"] for each in refused}) == (20 - fit, {limit})
            keys = [each.key for each in await store.list_state(wanted.pool, "s", None)]
            assert len(keys) == fit
            assert all(await asyncio.gather(*(store.delete_state(wanted.pool, "s", key, None) for key in keys)))

    async def test_a_deleted_key_gives_its_bytes_back(self, store: Store, wanted: SessionRecord) -> None:
        await store.create_session(wanted, 10)
        for _ in range(5):
            for key in ("a", "b"):
                await store.set_state(wanted.pool, "s", key, value(b"x" * 10), None, LIMITS, None)
            for key in ("a", "b"):
                await store.delete_state(wanted.pool, "s", key, None)


class TestPools:
    async def test_the_operators_settings_win_unless_they_are_older(self, store: Store, pool: str) -> None:
        assert (await store.save_pool(settings(pool, 2), override=True)).generation == 2
        assert (await store.save_pool(settings(pool, 1), override=True)).generation == 2
        assert (await store.save_pool(settings(pool, 3), override=True)).generation == 3
        same = settings(pool, 3)
        same.spec = "of another release"
        assert (await store.save_pool(same, override=True)).spec == "of another release"
        assert [(s.generation, s.spec) for s in await store.load_pools() if s.pool == pool] == [(3, "of another release")]

    async def test_an_agents_settings_are_kept_where_there_are_none_and_replace_none(self, store: Store, pool: str) -> None:
        assert (await store.save_pool(settings(pool, 7, "old"), override=False)).generation == 7
        for other in (settings(pool, 8, "old"), settings(pool, 1, "new"), settings(pool, 9, "old", deleted=True)):
            kept = await store.save_pool(other, override=False)
            assert (kept.uid, kept.generation, kept.deleted) == ("old", 7, False)
        assert (await store.save_pool(settings(pool, 1, "new"), override=True)).uid == "new"

    async def test_a_deleted_pool_is_not_brought_back_by_its_own_agents(self, store: Store, pool: str) -> None:
        await store.save_pool(settings(pool, 1), override=True)
        await store.save_pool(settings(pool, 0, deleted=True), override=True)
        assert (await store.save_pool(settings(pool, 1), override=False)).deleted
        assert not (await store.save_pool(settings(pool, 1), override=True)).deleted, "the operator has the last word"
        await store.save_pool(settings(pool, 0, deleted=True), override=True)
        assert [s for s in await store.load_pools() if s.pool == pool] == []
        assert not (await store.save_pool(settings(pool, 1, "made again"), override=True)).deleted


class TestLeases:
    async def test_an_agent_is_lost_only_when_no_replica_hears_it_and_then_for_good(self, store: Store, pool: str) -> None:
        assert await store.renew_leases(pool, {"i": 0.3}) == []
        assert 0.1 < await store.declare_lost(pool, "i", 60) < 0.31
        assert await store.has_lease(pool, "i")
        assert not await store.has_lease(pool, "j")
        async with asyncio.timeout(5):
            while left := await store.declare_lost(pool, "i", 60):
                await asyncio.sleep(left)
        assert not await store.has_lease(pool, "i")
        assert await store.renew_leases(pool, {"i": 60, "j": 60}) == ["i"]
        assert not await store.has_lease(pool, "i"), "what is lost stays so, however often a replica hears of it"

    async def test_who_holds_a_lease_is_listed(self, store: Store, pool: str) -> None:
        assert await store.live_agents([pool]) == []
        await store.renew_leases(pool, {"long": 60, "short": 0.1})
        await store.renew_leases(f"{pool}-other", {"other": 60})
        async with asyncio.timeout(5):
            while await store.live_agents([pool]) != ["long"]:
                await asyncio.sleep(0.02)
        assert set(await store.live_agents([pool, f"{pool}-other"])) == {"long", "other"}
        assert await store.live_agents([]) == []
