"""Idempotency keys in every store: one run claims a key, its outcome is there for all, and an orphan's outcome is written down once."""

import asyncio
import time
from dataclasses import replace

import pytest

from snakepit_control_plane.server import make_store
from snakepit_control_plane.store.claims import ClaimState, Found, Run
from snakepit_control_plane.store.interface import Store
from support.redis_server import redis_server

LOST = b"lost"


@pytest.fixture
def run(pool: str) -> Run:
    return Run(pool, "key", "digest", "replica-1", "run-1")


@pytest.fixture
def other(run: Run) -> Run:
    return replace(run, replica="replica-2", id="run-2")


async def claim(store: Store, run: Run, *, lease: float = 60.0, keep: float = 60.0) -> Found:
    return await store.claims.claim(run, lease_seconds=lease, keep_seconds=keep, lost=LOST)


async def eventually_found(store: Store, run: Run, state: ClaimState) -> Found:
    async with asyncio.timeout(10):
        while (found := await claim(store, run)).state is not state:
            await asyncio.sleep(0.02)
        return found


async def test_the_first_run_claims_the_key_and_others_find_it_running(store: Store, run: Run, other: Run) -> None:
    assert not await store.claims.joined(run)
    assert await claim(store, run) == Found(ClaimState.OURS)
    assert not await store.claims.joined(run)
    assert await claim(store, other) == Found(ClaimState.RUNNING)
    assert await store.claims.joined(run)
    assert not await store.claims.joined(other)


async def test_of_many_claims_at_once_one_is_granted(store: Store, run: Run) -> None:
    runs = [replace(run, replica=f"replica-{n}", id=f"run-{n}") for n in range(50)]
    found = await asyncio.gather(*(claim(store, each) for each in runs))
    assert sorted(each.state for each in found) == [ClaimState.OURS] + [ClaimState.RUNNING] * 49


async def test_an_outcome_is_there_for_everybody(store: Store, run: Run, other: Run) -> None:
    await claim(store, run)
    outcome = bytes(range(256)) * 4096
    assert await store.claims.finish(run, outcome, 60.0)
    assert await claim(store, other) == Found(ClaimState.DONE, outcome)
    assert await claim(store, run) == Found(ClaimState.DONE, outcome)


@pytest.mark.parametrize("finished", [False, True], ids=["running", "done"])
async def test_another_calls_key_is_refused(store: Store, run: Run, other: Run, finished: bool) -> None:
    await claim(store, run)
    if finished:
        await store.claims.finish(run, b"outcome", 60.0)
    assert await claim(store, replace(other, digest="another")) == Found(ClaimState.OTHER)
    assert await claim(store, replace(run, digest="another", id="run-3")) == Found(ClaimState.OTHER)


async def test_a_released_key_is_free(store: Store, run: Run, other: Run) -> None:
    await claim(store, run)
    await store.claims.release(run)
    assert await claim(store, replace(other, digest="another")) == Found(ClaimState.OURS)


async def test_only_its_own_run_releases_a_key_and_an_outcome_is_never_released(store: Store, run: Run, other: Run) -> None:
    await claim(store, run)
    await store.claims.release(other)
    assert await claim(store, other) == Found(ClaimState.RUNNING)
    await store.claims.finish(run, b"outcome", 60.0)
    await store.claims.release(run)
    assert await claim(store, other) == Found(ClaimState.DONE, b"outcome")


async def test_the_claim_of_a_replica_without_a_lease_becomes_lost_once_and_for_all(store: Store, run: Run, other: Run) -> None:
    await claim(store, run, lease=2.0)
    assert (await claim(store, other)).state is ClaimState.RUNNING
    assert (await eventually_found(store, other, ClaimState.DONE)).outcome == LOST
    assert await store.claims.hold(run.pool, run.replica, 60.0)
    assert await claim(store, run) == Found(ClaimState.DONE, LOST)


async def test_a_lease_that_is_renewed_keeps_all_claims_of_its_replica(store: Store, run: Run, other: Run) -> None:
    second = replace(run, key="second", id="run-3")
    await claim(store, run, lease=3.0)
    await claim(store, second, lease=3.0)
    for _ in range(7):
        await asyncio.sleep(0.5)
        assert await store.claims.hold(run.pool, run.replica, 3.0)
    assert (await claim(store, other)).state is ClaimState.RUNNING
    assert (await claim(store, replace(other, key="second"))).state is ClaimState.RUNNING


async def test_a_replica_that_was_given_up_too_early_still_stores_what_came_of_its_run(store: Store, run: Run, other: Run) -> None:
    await claim(store, run, lease=0.01)
    await eventually_found(store, other, ClaimState.DONE)
    assert await store.claims.finish(run, b"outcome", 60.0)
    assert await claim(store, other) == Found(ClaimState.DONE, b"outcome")


async def test_a_replica_takes_over_a_claim_that_it_left_behind(store: Store, run: Run) -> None:
    later = replace(run, id="run-2")
    await claim(store, run)
    assert await claim(store, later) == Found(ClaimState.OURS)
    await store.claims.release(run)
    assert not await store.claims.finish(run, b"old", 60.0)
    assert await store.claims.finish(later, b"new", 60.0)
    assert await claim(store, run) == Found(ClaimState.DONE, b"new")


async def test_who_joined_an_earlier_run_has_not_joined_the_one_that_took_over(store: Store, run: Run, other: Run) -> None:
    later = replace(run, id="run-2")
    await claim(store, run)
    await claim(store, other)
    assert await store.claims.joined(run)
    assert await claim(store, later) == Found(ClaimState.OURS)
    assert not await store.claims.joined(later), "nobody has asked after this one: it need not run on for others"
    await claim(store, other)
    assert await store.claims.joined(later)


async def test_an_outcome_is_stored_even_if_the_store_has_lost_the_claim(store: Store, run: Run, other: Run) -> None:
    assert await store.claims.finish(run, b"outcome", 60.0)
    assert await claim(store, other) == Found(ClaimState.DONE, b"outcome")


async def test_a_store_that_knows_nothing_of_a_lease_says_so(store: Store, run: Run) -> None:
    assert not await store.claims.hold(run.pool, "nobody", 60.0)
    assert await store.claims.hold(run.pool, "nobody", 60.0)


async def test_outcomes_and_claims_are_forgotten_after_their_time(store: Store, run: Run, other: Run) -> None:
    await claim(store, run, keep=0.1)
    await claim(store, replace(run, key="second"))
    await store.claims.finish(replace(run, key="second"), b"outcome", 0.1)
    await eventually_found(store, other, ClaimState.OURS)
    await eventually_found(store, replace(other, key="second", digest="another"), ClaimState.OURS)


async def test_every_key_in_redis_expires_and_has_the_pools_hash_tag(run: Run, patient: None) -> None:
    with redis_server() as server:
        store = make_store(server.url)
        await store.start()
        await claim(store, run)
        await claim(store, replace(run, key="second"))
        await store.claims.finish(replace(run, key="second"), b"outcome", 60.0)
        await store.claims.hold(run.pool, "replica-9", 60.0)
        keys = [word.decode() for word in server.command("KEYS", f"snakepit:*{run.pool}*").split() if word.startswith(b"snakepit")]
        assert len(keys) == 3
        for key in keys:
            assert f"{{{run.pool}}}" in key
            assert int(server.command("PTTL", key)[1:]) > 0, key
        await store.close()


async def test_replicas_that_ended_an_hour_ago_are_forgotten_and_those_that_live_are_not(run: Run, patient: None) -> None:
    with redis_server() as server:
        store = make_store(server.url)
        await store.start()
        await store.claims.hold(run.pool, "alive", 60.0)
        key, now = f"snakepit:{{{run.pool}}}:replicas", int(time.time() * 1000)
        for name, ended in (("long ago", 2 * 3_600_000), ("a moment ago", 60_000)):
            assert server.command("ZADD", key, str(now - ended), f'"{name}"') == b":1\r\n"
        assert await store.claims.hold(run.pool, "alive", 60.0)
        left = server.command("ZRANGE", key, "0", "-1")
        assert b"alive" in left
        assert b"a moment ago" in left
        assert b"long ago" not in left
        await store.close()
