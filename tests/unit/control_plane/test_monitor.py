"""Over the agents of one replica: what its looks at them come to, second by second, with the time in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from snakepit.v1 import pool_pb2
from snakepit_control_plane.fleet.monitor import LOOKS_SECONDS
from snakepit_control_plane.model.capsule import Capsule
from support import virtual_time
from support.router_world import World
from support.simulated_agent import POOL, settings

BEAT = {"intervalSeconds": 1, "timeoutSeconds": 4, "missThreshold": 2}
LOST = pool_pb2.LIVENESS_LOST


class Looks:
    """A world of capsules that beat only when the test says so, and a monitor that looks in time only when the test does not."""

    def __init__(self, capsules: int) -> None:
        self.world = World(capsules=capsules, workers=1, heartbeat=BEAT)
        self.capsules = [agent.capsule for agent in self.world.agents]
        self.loop = asyncio.get_running_loop()
        _, self.pause = LOOKS_SECONDS
        self.beat(*self.capsules)

    def beat(self, *capsules: Capsule) -> None:
        for capsule in capsules:
            capsule.heard_at(self.loop.time())
            capsule.liveness = pool_pb2.LIVENESS_LIVE

    async def look(self, seconds: float, *beating: Capsule) -> None:
        """In time, whenever the monitor wants to, for so long; `beating` are heard all the while."""
        end = self.loop.time() + seconds
        while (left := end - self.loop.time()) > 0:
            await self.world.turn(min(self.pause, left))
            self.beat(*beating)
            self.pause = self.world.fleet.monitor.tick(self.loop.time(), 0.0)
            await self.world.turn()

    async def until_lost(self) -> float:
        """When the first of them is lost."""

        async def watch() -> float:
            while not self.lost:
                await asyncio.sleep(0.001)
            return self.loop.time()

        watching = asyncio.create_task(watch())
        while not watching.done():
            await self.look(self.pause)
        return watching.result()

    async def stall(self, seconds: float) -> None:
        """The replica is stopped for so long: one look, late, before anything was read."""
        await self.world.turn(seconds)
        self.world.fleet.monitor.tick(self.loop.time(), seconds - self.pause)
        await self.world.turn()

    @property
    def counted(self) -> tuple[float, float]:
        """Heartbeats missed, and capsules that turned suspect."""
        telemetry = self.world.flow.telemetry
        missed, suspected = (
            sum(sample.value for family in each.collect() for sample in family.samples) for each in (telemetry.missed, telemetry.suspected)
        )
        return missed, suspected

    @property
    def lost(self) -> list[str]:
        return [capsule.name for capsule in self.capsules if capsule.liveness == LOST]

    async def stop(self) -> None:
        await self.world.fleet.stop()
        await self.world.stop()


def run(program: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(program)


def test_a_capsule_that_can_not_be_heard_at_once_after_a_stall_has_what_was_left_of_its_time() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        await looks.look(3)
        await looks.stall(60)
        await looks.look(0.5)
        assert not looks.lost, "it links anew: the replica's own silence has ended its connection"
        await looks.look(2.5)
        assert looks.lost == ["c0"], "it is silent, whatever has befallen the replica"
        await looks.stop()

    run(program())


def test_a_capsule_that_was_nearly_lost_is_read_before_it_is_judged() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        await looks.look(3.75)
        await looks.stall(0.75)
        assert not looks.lost, "what it said may wait in the socket"
        await looks.look(4, *looks.capsules)
        assert not looks.lost
        await looks.stop()

    run(program())


def test_without_a_stall_a_silent_capsule_is_lost_at_its_time() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        await looks.look(3.75)
        assert not looks.lost
        await looks.look(2.5)
        assert looks.lost == ["c0"]
        await looks.stop()

    run(program())


def test_each_heartbeat_that_does_not_come_is_counted_once_and_a_capsule_that_turns_suspect_for_it_too() -> None:
    async def program() -> None:
        looks = Looks(capsules=2)
        silent, other = looks.capsules
        await looks.look(1.9, other)
        assert looks.counted == (1, 0)
        await looks.look(1.9, other)
        assert looks.counted == (3, 1), "two in a row are missThreshold"
        await looks.look(1, silent, other)
        await looks.look(1.9, other)
        assert looks.counted == (4, 1), "after it was heard it begins anew"
        await looks.stop()

    run(program())


@pytest.mark.parametrize("phase", [0.0, 0.13, 0.49, 0.77, 0.99])
@pytest.mark.parametrize("interval", [0.3, 1, 2], ids=lambda seconds: f"every {seconds} s")
def test_a_capsule_is_lost_at_the_end_of_its_time_out_whenever_it_was_heard_last(interval: float, phase: float) -> None:
    """Its lease was renewed since, and another replica heard it a moment later: neither makes it any later."""

    async def program() -> None:
        looks = Looks(capsules=1)
        pool, (capsule,) = looks.world.flow.pools[POOL], looks.capsules
        beat = {**BEAT, "intervalSeconds": interval}
        looks.world.fleet.sync([settings(uid=pool.settings.uid, generation=2, heartbeat=beat)], complete=True, drain=[])
        for _ in range(7):
            await looks.look(interval)
            looks.beat(capsule)
        await looks.look(interval * phase)
        heard, later = capsule.last_beat, 0.003
        left = heard + later + BEAT["timeoutSeconds"] - looks.loop.time()
        await looks.world.store.renew_leases(POOL, {capsule.incarnation: left})
        assert 0 <= await looks.until_lost() - heard - BEAT["timeoutSeconds"] < 0.02
        await looks.stop()

    run(program())


def test_a_capsule_that_is_heard_elsewhere_for_longer_is_lost_when_its_time_there_is_over() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        (capsule,) = looks.capsules
        await looks.look(2)
        until = looks.loop.time() + BEAT["timeoutSeconds"] + 0.4
        await looks.world.store.renew_leases(POOL, {capsule.incarnation: until - looks.loop.time()})
        assert 0 <= await looks.until_lost() - until < 0.02
        await looks.stop()

    run(program())


def test_a_lease_never_ends_between_two_heartbeats_that_come_in_time() -> None:
    """Where a time-out is hardly more than two intervals, it is renewed more often."""

    async def program() -> None:
        looks = Looks(capsules=1)
        pool, (capsule,) = looks.world.flow.pools[POOL], looks.capsules
        beat = {"intervalSeconds": 2, "timeoutSeconds": 4, "missThreshold": 2}
        looks.world.fleet.sync([settings(uid=pool.settings.uid, generation=2, heartbeat=beat)], complete=True, drain=[])
        for step in range(400):
            await looks.look(0.1)
            if step % 20 == 19:
                looks.beat(capsule)
            assert await looks.world.store.has_lease(POOL, capsule.incarnation) or step < 5, step
        await looks.stop()

    run(program())


def test_who_was_silent_for_longer_than_a_new_time_out_allows_has_that_time_from_the_change_on() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        pool = looks.world.flow.pools[POOL]
        long = {"intervalSeconds": 60, "timeoutSeconds": 600}
        looks.world.fleet.sync([settings(uid=pool.settings.uid, heartbeat=long)], complete=True, drain=[])
        await looks.look(59)
        looks.world.fleet.sync([settings(uid=pool.settings.uid, generation=2, heartbeat=BEAT)], complete=True, drain=[])
        await looks.look(1.75)
        assert [each.liveness for each in looks.capsules] == [pool_pb2.LIVENESS_LIVE], "its agent has just been told"
        await looks.look(4.5)
        assert looks.lost == ["c0"]
        await looks.stop()

    run(program())


def test_a_lease_has_its_new_term_as_soon_as_a_time_out_gets_longer() -> None:
    async def program() -> None:
        looks = Looks(capsules=1)
        pool = looks.world.flow.pools[POOL]
        long = {"intervalSeconds": 60, "timeoutSeconds": 600}
        await looks.look(3, *looks.capsules)
        looks.world.fleet.sync([settings(uid=pool.settings.uid, generation=2, heartbeat=long)], complete=True, drain=[])
        await looks.look(50)
        (incarnation,) = pool.capsules
        assert await looks.world.store.declare_lost(POOL, incarnation, 1.0), "its lease had run out"
        await looks.stop()

    run(program())


def test_not_all_come_back_in_the_same_moment_after_most_were_silent_and_who_stays_silent_is_lost() -> None:
    """As soon as most were there again, the others were lost at once, however soon after them they would have been heard."""

    async def program() -> None:
        looks = Looks(capsules=3)
        first, second, third = looks.capsules
        await looks.look(12)
        await looks.look(2, first, second)
        assert not looks.world.flow.pools[POOL].silence_held
        assert third.liveness == pool_pb2.LIVENESS_SUSPECT
        await looks.look(2, *looks.capsules)
        assert third.liveness == pool_pb2.LIVENESS_LIVE
        await looks.look(12)
        await looks.look(5, first, second)
        assert looks.lost == ["c2"]
        await looks.stop()

    run(program())


def test_the_guard_begins_anew_for_a_second_time_that_most_are_silent() -> None:
    """It holds for ten time-outs at most; what it has used up of them counts no more when all have been heard in between."""

    async def program() -> None:
        looks = Looks(capsules=3)
        for _ in range(3):
            await looks.look(24)
            assert not looks.lost
            assert looks.world.flow.pools[POOL].silence_held
            await looks.look(3, *looks.capsules)
            assert not looks.world.flow.pools[POOL].silence_held
        await looks.look(50)
        assert looks.lost == ["c0", "c1", "c2"], "nor does it hold for ever"
        await looks.stop()

    run(program())


def test_a_replica_that_has_the_store_back_says_so_when_it_knows_which_agents_were_lost_without_it() -> None:
    """Clients with other links send it no calls until then: they went to workers that had been given up. (A node was cut off.)"""

    async def program() -> None:
        looks, lost_when_told = Looks(capsules=2), []
        standing, store = looks.world.fleet.standing, looks.world.store
        standing.told = lambda: lost_when_told.append((standing.lacks_store, looks.lost))
        await looks.look(1, *looks.capsules)
        store.problem = "it is away"
        standing.look()
        await looks.world.turn(BEAT["timeoutSeconds"])
        assert not await store.declare_lost(POOL, looks.capsules[0].incarnation, 60.0), "nobody has renewed its lease"
        looks.beat(*looks.capsules)
        store.problem = ""
        standing.look()
        await looks.world.turn()
        assert lost_when_told == [(True, []), (False, ["c0"])]
        await looks.stop()

    run(program())


def test_a_store_that_answers_and_is_away_again_is_still_missing() -> None:
    async def program() -> None:
        looks, told = Looks(capsules=1), []
        standing, store = looks.world.fleet.standing, looks.world.store
        standing.told = lambda: told.append(standing.lacks_store)
        store.problem = "it is away"
        standing.look()
        store.problem = ""
        standing.look()
        store.problem = "it is away"
        await looks.world.turn()
        assert told == [True]
        store.problem = ""
        standing.look()
        await looks.world.turn()
        assert told == [True, False]
        await looks.stop()

    run(program())
