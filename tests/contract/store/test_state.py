"""The state of sessions: versions, fences and quotas, over every store."""

import asyncio

import pytest

from snakepit.errors import StaleEpoch, StateQuota
from snakepit_control_plane.model.session import Fence, SessionRecord
from snakepit_control_plane.store.interface import Store, Written
from support.stored import LIMITS, value


async def test_versions_start_at_one_and_grow(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    versions = [(await store.set_state(wanted.pool, "s", "k", value(b"%d" % i), None, LIMITS, None)).version for i in range(3)]
    stored = await store.get_state(wanted.pool, "s", "k", None)
    assert versions == [1, 2, 3]
    assert stored is not None
    assert (stored.version, stored.value.data, stored.value.content_type) == (3, b"2", "application/json")


async def test_any_bytes_come_back_as_they_were(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    data = b"a:b\x00\xff:"
    await store.set_state(wanted.pool, "s", "k:1", value(data), None, LIMITS, None)
    stored = await store.get_state(wanted.pool, "s", "k:1", None)
    assert stored is not None
    assert stored.value.data == data


async def test_compare_and_set_reports_a_conflict_with_the_version_that_is_there(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    created = await store.set_state(wanted.pool, "s", "k", value(b"1"), 0, LIMITS, None)
    conflict = await store.set_state(wanted.pool, "s", "k", value(b"2"), 0, LIMITS, None)
    written = await store.set_state(wanted.pool, "s", "k", value(b"3"), 1, LIMITS, None)
    assert (created.done, created.version) == (True, 1)
    assert (conflict.done, conflict.version) == (False, 1)
    assert (written.done, written.version) == (True, 2)


async def test_of_many_compare_and_sets_over_one_version_one_wins(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    outcomes = await asyncio.gather(*(store.set_state(wanted.pool, "s", "k", value(b"%d" % i), 0, LIMITS, None) for i in range(20)))
    assert sum(outcome.done for outcome in outcomes) == 1


async def test_a_fenced_worker_can_neither_read_nor_write(store: Store, wanted: SessionRecord) -> None:
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


async def test_a_fence_without_an_epoch_admits_to_that_life_of_the_session_wherever_it_runs(store: Store, wanted: SessionRecord) -> None:
    record, _ = await store.create_session(wanted, 10)
    moved = await store.unbind_session(await store.bind_session(record, "w", "i", "a"))
    fence = Fence(record.uid, None)
    assert moved.epoch == 2
    assert (await store.set_state(wanted.pool, "s", "k", value(b"1"), None, LIMITS, fence)).done
    assert [each.key for each in await store.list_state(wanted.pool, "s", fence)] == ["k"]
    assert await store.get_state(wanted.pool, "s", "k", fence) is not None
    assert await store.delete_state(wanted.pool, "s", "k", fence)
    for operation in (
        store.get_state(wanted.pool, "s", "k", Fence("another life", None)),
        store.get_state(wanted.pool, "s", "k", Fence(record.uid, 0)),
    ):
        with pytest.raises(StaleEpoch):
            await operation


async def test_keys_are_listed_and_deleted(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    for key in ("b", "a"):
        await store.set_state(wanted.pool, "s", key, value(b"123"), None, LIMITS, None)
    listed = await store.list_state(wanted.pool, "s", None)
    assert [(k.key, k.version, k.size_bytes) for k in listed] == [("a", 1, 3), ("b", 1, 3)]
    assert await store.delete_state(wanted.pool, "s", "a", None)
    assert not await store.delete_state(wanted.pool, "s", "a", None)
    assert [k.key for k in await store.list_state(wanted.pool, "s", None)] == ["b"]


async def test_a_key_that_was_deleted_and_set_again_has_a_version_that_it_never_had(store: Store, wanted: SessionRecord) -> None:
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
    store: Store, wanted: SessionRecord, written: list[tuple[str, int]], details: dict[str, str]
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
    store: Store, wanted: SessionRecord, size: int, fit: int, limit: str
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


async def test_a_deleted_key_gives_its_bytes_back(store: Store, wanted: SessionRecord) -> None:
    await store.create_session(wanted, 10)
    for _ in range(5):
        for key in ("a", "b"):
            await store.set_state(wanted.pool, "s", key, value(b"x" * 10), None, LIMITS, None)
        for key in ("a", "b"):
            await store.delete_state(wanted.pool, "s", key, None)
