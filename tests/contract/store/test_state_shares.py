"""What the sessions of one owner may hold in a pool, over every store: the sessions themselves, their metadata and their state."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from snakepit.errors import CallerLimit, InvalidArguments
from snakepit.spec.fields import SessionSpec
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.session import SessionRecord
from snakepit_control_plane.server import make_store
from snakepit_control_plane.store.interface import Store
from support.stored import named, until_gone, value

MOST = 20_000
ROOMY = SessionSpec()
PART = b"x" * 4_000


@pytest.fixture
async def bounded(url: str, patient: None) -> AsyncIterator[Store]:
    made = make_store(url, MOST)
    await made.start()
    yield made
    await made.close()


def of(pool: str, name: str, owner: str = "ada", ttl_seconds: float = 60.0, **metadata: str) -> SessionRecord:
    return replace(named(pool, name, ttl_seconds), owner=owner, metadata=metadata)


async def put(store: Store, pool: str, name: str, key: str, data: bytes = PART) -> None:
    await store.set_state(pool, name, key, value(data), None, ROOMY, None)


async def fill(store: Store, pool: str, name: str) -> int:
    """Keys until one is refused: how many there are then."""
    for number in range(100):
        try:
            await put(store, pool, name, f"k{number}")
        except CallerLimit:
            return number
    raise AssertionError("nothing is refused")


async def test_an_owner_whose_sessions_hold_enough_is_refused_more_by_name_and_everybody_else_goes_on(bounded: Store, pool: str) -> None:
    for name in ("one", "two"):
        await bounded.create_session(of(pool, name), 100)
    fit = await fill(bounded, pool, "one")
    assert fit == 4
    with pytest.raises(CallerLimit, match=rf"^sessions of ada hold \d+ bytes of pool {pool}, and this needs 4\d\d\d more: ") as refused:
        await put(bounded, pool, "two", "k")
    assert refused.value.details == {"limit": "maxStateBytesPerCaller", "bytes": str(MOST)}
    assert "maxStateBytesPerCaller allows 20000, delete keys or sessions" in refused.value.message
    await put(bounded, pool, "one", "k0", PART[1:])
    await bounded.create_session(of(pool, "bobs", "bob"), 100)
    assert await fill(bounded, pool, "bobs") == fit
    await bounded.create_session(of(pool, "nobodys", ""), 100)
    for number in range(2 * fit):
        await put(bounded, pool, "nobodys", f"k{number}")
    await bounded.create_session(of(f"{pool}-other", "one"), 100)
    assert await fill(bounded, f"{pool}-other", "one") == fit


async def test_bytes_are_free_again_with_the_key_the_session_or_its_time(bounded: Store, pool: str) -> None:
    for name, seconds in (("kept", 60.0), ("short", 2.0)):
        await bounded.create_session(of(pool, name, ttl_seconds=seconds), 100)
    fit = await fill(bounded, pool, "short")
    await until_gone(bounded, pool, "short")
    assert await bounded.count_sessions(pool) == 1
    for _ in range(3):
        await bounded.create_session(of(pool, "deleted"), 100)
        assert await fill(bounded, pool, "deleted") == fit
        await bounded.delete_session(pool, "deleted")
    for _ in range(3):
        for number in range(await fill(bounded, pool, "kept")):
            await bounded.delete_state(pool, "kept", f"k{number}", None)
    assert await fill(bounded, pool, "kept") == fit
    await put(bounded, pool, "kept", "k0", b"")
    await put(bounded, pool, "kept", "more", PART[:3_900])


async def test_sessions_without_state_metadata_and_keys_without_values_count_too(bounded: Store, pool: str) -> None:
    made = await asyncio.gather(*(bounded.create_session(of(pool, f"s{n}"), 1_000) for n in range(40)), return_exceptions=True)
    assert sum(isinstance(each, CallerLimit) for each in made) == 21
    assert not (await bounded.create_session(of(pool, "s0"), 1_000))[1], "one that is there is no new one"
    await bounded.create_session(of(pool, "large", "bob", about="x" * 10_000), 1_000)
    with pytest.raises(CallerLimit, match=r"^sessions of bob hold 11\d\d\d bytes .*, and this needs 11\d\d\d more: "):
        await bounded.create_session(of(pool, "another", "bob", about="x" * 10_000), 1_000)
    await bounded.create_session(of(pool, "keys", "eve"), 1_000)
    keys = await asyncio.gather(*(put(bounded, pool, "keys", f"k{n:03}", b"") for n in range(200)), return_exceptions=True)
    assert sum(isinstance(each, CallerLimit) for each in keys) == 42


@pytest.mark.parametrize("kind", ["x" * 129, "text/plain:x"], ids=["long", "colon"])
async def test_a_content_type_that_would_not_be_counted_is_refused(store: Store, wanted: SessionRecord, kind: str) -> None:
    await store.create_session(wanted, 10)
    with pytest.raises(InvalidArguments, match="of a value of a session's state must have at most 128 characters without a colon"):
        await store.set_state(wanted.pool, "s", "k", common_pb2.Payload(content_type=kind, data=b"1"), None, ROOMY, None)


async def test_a_key_without_a_value_is_deleted_wholly_too(bounded: Store, pool: str) -> None:
    """Lua's minus zero is no integer to Redis."""
    await bounded.create_session(of(pool, "one"), 100)
    for number in range(MOST // 100):
        await put(bounded, pool, "one", f"k{number}", b"")
        assert await bounded.delete_state(pool, "one", f"k{number}", None)
    assert await fill(bounded, pool, "one") == 4
