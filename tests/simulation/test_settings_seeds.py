"""Random schedules of edits between operator and replicas. A seed that fails is named, with what happened.

SNAKEPIT_SETTINGS_SEEDS: how many seeds, from 0 on; or `first:last`, the last one not included. Beside the former come fresh ones.
"""

from __future__ import annotations

import asyncio
import random

import pytest
from simulation.settings_world import World

from support.seeds import blocks, play_each
from support.virtual_time import VirtualLoop

SEEDS = 300
BLOCK = 50


def play(seed: int) -> tuple[str, list[str]]:
    """What went wrong, and what had happened before; no word: nothing."""
    trace: list[str] = []

    async def program() -> str:
        world = World(seed)
        random.seed(seed)
        problems: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(f"{context}"))
        try:
            await world.run()
        except AssertionError as error:
            problems.append(str(error))
        trace.extend(world.trace)
        return "; ".join(problems)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program()), trace


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", blocks("SNAKEPIT_SETTINGS_SEEDS", SEEDS, BLOCK), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_every_replica_ends_with_exactly_the_settings_that_are_wanted(seeds: range) -> None:
    play_each(seeds, "SNAKEPIT_SETTINGS_SEEDS", play)
