"""Leases of agents, over every store: who is lost is so for everybody, and for good."""

import asyncio

from snakepit_control_plane.store.interface import Store


async def test_an_agent_is_lost_only_when_no_replica_hears_it_and_then_for_good(store: Store, pool: str) -> None:
    assert await store.renew_leases(pool, {"i": 3.0}) == []
    assert 0.2 < await store.declare_lost(pool, "i", 60) < 3.01
    assert await store.has_lease(pool, "i")
    assert not await store.has_lease(pool, "j")
    async with asyncio.timeout(20):
        while left := await store.declare_lost(pool, "i", 60):
            await asyncio.sleep(left)
    assert not await store.has_lease(pool, "i")
    assert await store.renew_leases(pool, {"i": 60, "j": 60}) == ["i"]
    assert not await store.has_lease(pool, "i"), "what is lost stays so, however often a replica hears of it"


async def test_who_holds_a_lease_is_listed(store: Store, pool: str) -> None:
    assert await store.live_agents([pool]) == []
    await store.renew_leases(pool, {"long": 60, "short": 0.1})
    await store.renew_leases(f"{pool}-other", {"other": 60})
    async with asyncio.timeout(20):
        while await store.live_agents([pool]) != ["long"]:
            await asyncio.sleep(0.02)
    assert set(await store.live_agents([pool, f"{pool}-other"])) == {"long", "other"}
    assert await store.live_agents([]) == []
