"""What goes to the server and how often, as whoever measures it is told."""

import asyncio

import pytest

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.store.redis import RedisStore
from support.redis_server import RedisServer
from support.stored import POOL, until, wanted


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
    touching, listing = store.touch_sessions(POOL, {f"s{n}": "" for n in range(100)}), store.get_session(POOL, "s7")
    await asyncio.gather(touching, listing)
    assert trips == [{"touch_session", "get_session"}]
