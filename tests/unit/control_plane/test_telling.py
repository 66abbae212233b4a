"""How soon an operator is told that calls run or wait, over the streams of FleetService, on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from snakepit.v1 import fleet_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet.fleet import COUNT_SECONDS
from snakepit_control_plane.servers.fleet import CHANGE_SECONDS, TELLING_SHARE, FleetServicer, rest_after
from support import virtual_time
from support.router_world import World
from support.simulated_agent import POOL, settings

LEAST, MOST = CHANGE_SECONDS
BEAT_SECONDS = 0.2


class Operator:
    """The other end of a stream: it has asked once, and hears. `told`: when, and how many slots are busy then."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int]] = []
        self._requests = [fleet_pb2.SyncRequest(pools=[settings()], complete=True, version=1)]

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def read(self) -> fleet_pb2.SyncRequest:
        if not self._requests:
            await asyncio.get_running_loop().create_future()
        return self._requests.pop()

    async def write(self, answer: fleet_pb2.SyncResponse) -> None:
        self.told += [(asyncio.get_running_loop().time(), each.pool.busy_slots) for each in answer.pools if each.pool.name == POOL]

    def first(self, busy: int) -> float:
        """When it was told so first."""
        return next(at for at, told in self.told if told == busy)


def told(program: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(program)


async def beats(world: World) -> None:
    while True:
        for agent in world.agents:
            agent.capsule.heard_at(world.loop.time())
        await asyncio.sleep(BEAT_SECONDS)


async def listening(world: World) -> tuple[Operator, list[asyncio.Task[Any]]]:
    operator = Operator()
    served = FleetServicer(world.fleet, "replica", Gate()).Sync(None, operator)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(each) for each in (served, world.fleet.run(), beats(world))]
    await world.turn(3.0)
    return operator, tasks


async def over(world: World, tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.settle()
    await world.stop()


@pytest.mark.parametrize("phase", [number / 7 for number in range(7)])
def test_that_a_call_runs_is_told_within_half_a_second_and_once(phase: float) -> None:
    async def program() -> None:
        world = await World(capsules=1, workers=1).start()
        operator, tasks = await listening(world)
        await world.turn(phase)
        began, before = world.loop.time(), len(operator.told)
        world.submit()
        world.carry_all()
        await world.turn(5.0)
        assert began < operator.first(1) <= began + COUNT_SECONDS + LEAST + 0.001
        # A sample of the demand has news of it, too.
        assert len(operator.told) - before <= 3
        await over(world, tasks)

    told(program())


def test_what_changes_all_the_time_is_told_four_times_a_second_at_most() -> None:
    async def program() -> None:
        world = await World(capsules=1, workers=2).start()
        operator, tasks = await listening(world)
        before, began = len(operator.told), world.loop.time()
        for _ in range(600):
            world.fleet.changes.tell(POOL)
            await world.turn(0.017)
        seconds = world.loop.time() - began
        assert 3 * seconds <= len(operator.told) - before <= seconds / LEAST + 1
        await over(world, tasks)

    told(program())


@pytest.mark.parametrize(("took", "rest"), [(0.0, LEAST), (LEAST * TELLING_SHARE * 2, LEAST * 2), (1.0, MOST)])
def test_changes_that_take_long_to_tell_are_told_less_often(took: float, rest: float) -> None:
    assert rest_after(took) == pytest.approx(rest)
