"""Calls that race a pool on its way to zero. A seed that fails is named, with what happened before.

SNAKEPIT_RACES: how many each seed plays.
"""

from __future__ import annotations

import asyncio
import os
from unittest.mock import patch

import pytest
from simulation.play import edges
from simulation.zero_world import ZeroWorld

from snakepit_operator import controller, sizing
from support.virtual_time import VirtualLoop

pytestmark = pytest.mark.timeout(300)

SEEDS = 10
RACES = int(os.environ.get("SNAKEPIT_RACES", "40"))


def play(seed: int, races: int, *, strict: bool) -> None:
    async def program() -> None:
        world = ZeroWorld(seed, strict=strict)
        with edges(world, seed), patch.object(sizing, "LEAST_PAUSE_SECONDS", 1.0), patch.object(controller, "_WORKERS", 1):
            try:
                await world.run(races)
            except (AssertionError, TimeoutError) as error:
                happened = "\n".join(f"{at:.4f} {what}" for at, what in world.account.trace[-60:])
                raise AssertionError(f"seed {seed}: {error or repr(error)}\n{happened}") from error

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(program())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_call_that_races_its_pool_to_zero_is_answered_and_the_pool_gets_there(seed: int) -> None:
    play(seed, RACES, strict=False)


@pytest.mark.parametrize("seed", range(2))
def test_a_strict_session_that_races_its_pool_to_zero_keeps_its_worker_and_the_pool_gets_there(seed: int) -> None:
    play(seed, RACES // 10, strict=True)
