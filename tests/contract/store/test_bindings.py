"""To which worker a session is bound: over every store, all who ask agree, and each move is another epoch."""

import asyncio
from dataclasses import replace

from snakepit_control_plane.model.session import MOST_MOVES, SessionRecord
from snakepit_control_plane.store.interface import Store
from support.stored import named, until_gone


async def test_two_simultaneous_first_binds_meet_on_one_worker(store: Store, wanted: SessionRecord) -> None:
    known, _ = await store.create_session(wanted, 10)
    one, two = await asyncio.gather(store.bind_session(known, "c/0", "i0", "a0"), store.bind_session(known, "c/1", "i1", "a1"))
    assert (one.worker, one.incarnation, one.agent, one.epoch) == (two.worker, two.incarnation, two.agent, two.epoch)
    assert one.epoch == 1


async def test_moving_grows_the_epoch_by_one_and_only_from_what_is_known(store: Store, wanted: SessionRecord) -> None:
    known, _ = await store.create_session(wanted, 10)
    bound = await store.bind_session(known, "c/0", "i0", "a")
    moved = await store.bind_session(bound, "c/1", "i1", "a")
    late = await store.bind_session(bound, "c/2", "i2", "a")
    assert (moved.worker, moved.epoch) == ("c/1", 2)
    assert (late.worker, late.epoch) == ("c/1", 2)


async def test_each_epoch_but_the_first_has_a_reason_and_the_latest_are_kept(store: Store, wanted: SessionRecord) -> None:
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


async def test_unbinding_goes_over_to_the_next_epoch_and_only_from_what_is_known(store: Store, wanted: SessionRecord) -> None:
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


async def test_that_a_worker_is_gone_for_good_is_said_first_by_one_and_anew_of_each_binding(store: Store, wanted: SessionRecord) -> None:
    known, _ = await store.create_session(wanted, 10)
    bound = await store.bind_session(known, "c/0", "i0", "a")
    assert sorted(await asyncio.gather(*(store.note_lost(bound) for _ in range(3)))) == [False, False, True]
    moved = await store.bind_session(bound, "c/1", "i1", "a")
    assert [await store.note_lost(each) for each in (known, bound, moved, moved)] == [False, False, True, False]
    assert await store.get_session(wanted.pool, wanted.id) == moved


async def test_the_worker_of_a_session_that_has_expired_is_told_once(store: Store, pool: str) -> None:
    for name in ("bound", "freed", "unbound", "deleted"):
        known, _ = await store.create_session(named(pool, name, ttl_seconds=3.0), 10)
        if name != "unbound":
            known = await store.bind_session(known, "c/0", "i0", "a")
        if name == "freed":
            await store.unbind_session(known)
    await store.delete_session(pool, "deleted")
    await until_gone(store, pool, "bound")
    await until_gone(store, pool, "freed")
    taken = await asyncio.gather(store.take_ended(pool, 10), store.take_ended(pool, 10))
    assert [(e.pool, e.id, e.uid, e.worker, e.incarnation) for each in taken for e in each] == [(pool, "bound", "uid-bound", "c/0", "i0")]
