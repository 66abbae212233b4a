"""Over the agents of one replica: what its looks at them come to, second by second, with the time in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from snakepit.v1 import pool_pb2
from snakepit_control_plane.fleet.fleet import TICK_SECONDS
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
        self.beat(*self.capsules)

    def beat(self, *capsules: Capsule) -> None:
        for capsule in capsules:
            capsule.heard_at(self.loop.time())
            capsule.liveness = pool_pb2.LIVENESS_LIVE

    async def look(self, seconds: float, *beating: Capsule) -> None:
        """In time, every quarter of a second, for so long; `beating` are heard all the while."""
        end = self.loop.time() + seconds
        while self.loop.time() < end:
            await self.world.turn(TICK_SECONDS)
            self.beat(*beating)
            self.world.fleet.monitor.tick(self.loop.time(), 0.0)
            await self.world.turn()

    async def stall(self, seconds: float) -> None:
        """The replica is stopped for so long: one look, late, before anything was read."""
        await self.world.turn(seconds)
        self.world.fleet.monitor.tick(self.loop.time(), seconds - TICK_SECONDS)
        await self.world.turn()

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
        assert not await looks.world.store.declare_lost(POOL, incarnation, 1.0), "its lease had run out"
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
