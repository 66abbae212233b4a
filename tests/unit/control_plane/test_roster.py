"""Which pools a replica has, by whose word, and when it is ready; on a virtual clock, with the store that replicas share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from snakepit.errors import PoolNotFound, PoolNotReady, StoreUnavailable
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.fleet.roster import SWEEP_SECONDS
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.pools import RETURN_SECONDS
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.placement import Wait, no_worker
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from support.simulated_agent import settings
from support.virtual_time import run

TELEMETRY = Telemetry()
A, B = "default/a", "default/b"


class Store(MemoryStore):
    """That is away while `away` is set."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop().time)
        self.away = False

    async def save_pool(self, settings: link_pb2.PoolSettings, *, override: bool) -> link_pb2.PoolSettings:
        self._check()
        return await super().save_pool(settings, override=override)

    async def load_pools(self) -> list[link_pb2.PoolSettings]:
        self._check()
        return await super().load_pools()

    def lose_everything(self) -> None:
        super().__init__(asyncio.get_running_loop().time)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("it is away")


@asynccontextmanager
async def started(store: MemoryStore) -> AsyncIterator[Fleet]:
    """A replica, as its server starts it."""
    fleet = Fleet(Flow(TELEMETRY, Limits(), store, "r"), store)
    await fleet.roster.load()
    running = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await fleet.stop()


def told(fleet: Fleet, pools: Iterable[link_pb2.PoolSettings]) -> None:
    fleet.sync(list(pools), complete=True, drain=[])


def hello(pool: str, incarnation: str = "life", uid: str = "uid-1", generation: int = 1) -> link_pb2.Hello:
    about = link_pb2.Capsule(
        name=f"of-{incarnation}", incarnation=incarnation, pool=pool, settings=settings(pool, uid=uid, generation=generation)
    )
    return link_pb2.Hello(role=link_pb2.ROLE_AGENT, capsule=about)


async def join(fleet: Fleet, said: link_pb2.Hello) -> None:
    await fleet.join(said, lambda frame: None)


def pools(fleet: Fleet) -> dict[str, tuple[str, int]]:
    return {name: (pool.settings.uid, pool.settings.generation) for name, pool in fleet.flow.pools.items()}


async def stored(store: MemoryStore) -> dict[str, tuple[str, int]]:
    return {each.pool: (each.uid, each.generation) for each in await store.load_pools()}


def on_a_virtual_clock(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def plays() -> None:
        run(test())  # type: ignore[arg-type]

    plays.__name__ = test.__name__
    return plays


# ---- whose word


@on_a_virtual_clock
async def test_the_operators_word_is_final_and_reaches_the_store() -> None:
    store = Store()
    async with started(store) as fleet:
        await join(fleet, hello(A, generation=7))
        told(fleet, [settings(A, generation=2), settings(B)])
        assert pools(fleet) == {A: ("uid-1", 2), B: ("uid-1", 1)}, "also over a higher generation: a cluster may be restored"
        told(fleet, [settings(B, uid="made again")])
        assert pools(fleet) == {B: ("made again", 1)}
        await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert await stored(store) == {B: ("made again", 1)}


@on_a_virtual_clock
async def test_a_store_that_has_lost_the_settings_is_given_them_again_but_none_that_could_not_be_read() -> None:
    store = Store()
    unreadable = link_pb2.PoolSettings(pool=B, uid="uid-1", generation=2, spec="{")
    async with started(store) as fleet:
        with fleet.roster.listening():
            told(fleet, [settings(A), settings(B)])
            told(fleet, [settings(A), unreadable])
            await asyncio.sleep(1)
            store.lose_everything()
            await asyncio.sleep(2 * SWEEP_SECONDS)
            assert await stored(store) == {A: ("uid-1", 1)}, "another replica may hold what this one can't read"


@on_a_virtual_clock
async def test_settings_of_the_same_generation_and_another_content_are_taken() -> None:
    """An operator of another release spells out other defaults."""
    async with started(Store()) as fleet:
        told(fleet, [settings(A)])
        told(fleet, [settings(A, suspended=True)])
        assert fleet.flow.pools[A].spec.suspended


@on_a_virtual_clock
async def test_one_pool_whose_settings_can_t_be_read_keeps_no_other_from_its_own() -> None:
    broken = link_pb2.PoolSettings(pool=A, uid="uid-1", generation=1, spec="{")
    async with started(Store()) as fleet:
        told(fleet, [broken, settings(B)])
        assert pools(fleet) == {B: ("uid-1", 1)}
        assert "settings of pool 'default/a' can't be read" in fleet.roster.refused[A]
        told(fleet, [settings(A), settings(B)])
        assert fleet.roster.refused == {}


@on_a_virtual_clock
async def test_a_deleted_pool_comes_back_neither_by_its_capsules_nor_out_of_the_store() -> None:
    store = Store()
    async with started(store) as fleet:
        told(fleet, [settings(A), settings(B)])
        await asyncio.sleep(1)
        store.away = True
        told(fleet, [settings(B)])
        for _ in range(3):
            with pytest.raises(PoolNotFound, match="has been deleted"):
                await join(fleet, hello(A))
        assert pools(fleet) == {B: ("uid-1", 1)}
        await asyncio.sleep(60)
        store.away = False
        await asyncio.sleep(3)
        assert await stored(store) == {B: ("uid-1", 1)}, "the store hears of it when it is back"


@on_a_virtual_clock
async def test_a_store_that_is_back_late_gives_back_nothing_that_the_operator_has_not_named() -> None:
    store = Store()
    await store.save_pool(settings(A), override=True)
    await store.save_pool(settings(B), override=True)
    store.away = True
    async with started(store) as fleet:
        told(fleet, [settings(B, generation=2)])
        store.away = False
        await asyncio.sleep(3)
        assert pools(fleet) == {B: ("uid-1", 2)}


@on_a_virtual_clock
async def test_while_the_operator_listens_an_agent_brings_no_pool_that_it_does_not_know() -> None:
    async with started(Store()) as fleet:
        told(fleet, [])
        with fleet.roster.listening(), pytest.raises(PoolNotFound, match="which the operator does not know"):
            await join(fleet, hello(A))
        await join(fleet, hello(A))
        assert pools(fleet) == {A: ("uid-1", 1)}, "without it agents are believed"


@on_a_virtual_clock
async def test_an_agents_settings_are_taken_where_nobody_else_knows_the_pool_and_never_over_others() -> None:
    store = Store()
    await store.save_pool(settings(A, generation=5), override=True)
    async with started(store) as fleet:
        await join(fleet, hello(A, generation=9))
        await join(fleet, hello(B, "one", generation=3))
        await join(fleet, hello(B, "other", generation=4))
        assert pools(fleet) == {A: ("uid-1", 5), B: ("uid-1", 3)}
        assert await stored(store) == pools(fleet)


@on_a_virtual_clock
async def test_capsules_of_a_pool_that_was_made_again_are_drained_and_their_reports_are_not_the_new_ones() -> None:
    drained: list[link_pb2.Frame] = []
    async with started(Store()) as fleet:
        told(fleet, [settings(A)])
        old = await fleet.join(hello(A), drained.append)
        told(fleet, [settings(A, uid="made again")])
        assert [each.WhichOneof("kind") for each in drained] == ["drain"]
        told(fleet, [])
        told(fleet, [settings(A, uid="and again")])
        fleet.reported(old, link_pb2.Report(workers=[{"id": "w", "incarnation": "i"}]))  # type: ignore[list-item]
        assert fleet.flow.pools[A].workers == {}


# ---- when it is ready


async def seconds_until_ready(fleet: Fleet, most: float = 60.0) -> float:
    began = asyncio.get_running_loop().time()
    while not fleet.flow.pools.returned():
        await asyncio.sleep(0.05)
        assert asyncio.get_running_loop().time() - began < most
    return asyncio.get_running_loop().time() - began


@on_a_virtual_clock
async def test_a_replica_waits_for_the_agents_that_hold_leases_and_not_for_pools_that_have_none() -> None:
    store = Store()
    for each in (settings(A), settings(B), settings("default/suspended", suspended=True)):
        await store.save_pool(each, override=True)
    await store.renew_leases(A, {"one": 30, "two": 30})
    async with started(store) as fleet:
        await asyncio.sleep(2)
        assert not fleet.flow.pools.returned()
        await join(fleet, hello(A, "one"))
        await asyncio.sleep(2)
        assert not fleet.flow.pools.returned()
        await join(fleet, hello(A, "two"))
        assert fleet.flow.pools.returned()


@on_a_virtual_clock
async def test_an_agent_whose_lease_runs_out_is_waited_for_no_longer() -> None:
    store = Store()
    await store.save_pool(settings(A), override=True)
    await store.renew_leases(A, {"dying": 3})
    await store.renew_leases(A, {"well": 30})
    async with started(store) as fleet:
        await join(fleet, hello(A, "well"))
        assert 3 <= await seconds_until_ready(fleet) <= 4.5


@on_a_virtual_clock
async def test_agents_that_never_link_are_waited_for_ten_seconds() -> None:
    store = Store()
    await store.save_pool(settings(A), override=True)
    await store.renew_leases(A, {"cut off": 600})
    async with started(store) as fleet:
        assert RETURN_SECONDS <= await seconds_until_ready(fleet) <= RETURN_SECONDS + 0.1


@on_a_virtual_clock
async def test_with_an_empty_store_a_replica_is_not_ready_before_the_operator_has_spoken() -> None:
    """It was ready after 0.01 s, and refused every call with POOL_NOT_READY."""
    async with started(Store()) as fleet:
        await asyncio.sleep(3)
        assert not fleet.flow.pools.returned()
        with pytest.raises(PoolNotReady, match="not known here yet"):
            fleet.flow.pools.find(A)
        told(fleet, [settings(A)])
        assert await seconds_until_ready(fleet) < 0.1


@on_a_virtual_clock
async def test_with_an_empty_store_and_no_operator_a_replica_is_ready_after_ten_seconds() -> None:
    async with started(Store()) as fleet:
        assert RETURN_SECONDS <= await seconds_until_ready(fleet) <= RETURN_SECONDS + 0.1


@on_a_virtual_clock
async def test_agents_that_others_hear_are_waited_for_when_the_store_had_lost_everything() -> None:
    store = Store()
    async with started(store) as fleet:
        await store.renew_leases(A, {"one": 30})
        told(fleet, [settings(A)])
        await asyncio.sleep(2)
        assert not fleet.flow.pools.returned()
        await join(fleet, hello(A, "one"))
        assert fleet.flow.pools.returned()


@pytest.mark.parametrize("by", ["the operator", "the store"])
def test_calls_wait_for_the_agents_of_pools_that_were_there_before_the_replica(by: str) -> None:
    async def program() -> None:
        store: Any = Store()
        if by == "the store":
            await store.save_pool(settings(A), override=True)
        async with started(store) as fleet:
            await asyncio.sleep(1)
            if by == "the operator":
                told(fleet, [settings(A)])
            pool, now = fleet.flow.pools[A], fleet.flow.clock()
            wait = no_worker(pool, now)
            assert isinstance(wait, Wait)
            assert wait.seconds == pytest.approx(RETURN_SECONDS - 1)

    run(program())


@on_a_virtual_clock
async def test_a_new_pool_whose_workers_fail_makes_no_call_wait() -> None:
    """Only where agents may be about to link: in local mode everything has just started, and a broken adapter is to be told at once."""
    async with started(Store()) as fleet:
        told(fleet, [settings(A)])
        capsule = await fleet.join(hello(A), lambda frame: None)
        failing = pool_pb2.Worker(id="w", incarnation="i", state=pool_pb2.WORKER_STATE_BACKOFF, reason="ImportFailed")
        fleet.reported(capsule, link_pb2.Report(workers=[failing]))
        assert isinstance(no_worker(fleet.flow.pools[A], fleet.flow.clock()), PoolNotReady)
