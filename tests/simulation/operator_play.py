"""Plays one seed of the operator's simulation."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from simulation.operator_world import World, edges

from support.virtual_time import VirtualLoop

ROUND_SECONDS = 1e-9


class _Faults(logging.Handler):
    """What the operator logs as an error is one of its own."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.rules.problems.append(self.format(record))


def play(seed: int) -> tuple[str, list[str]]:
    """What went wrong, and what had happened before; no word: nothing."""
    trace: list[str] = []

    async def program() -> str:
        world = World(seed)
        log = logging.getLogger("snakepit_operator")
        handler, level = _Faults(world), log.level
        asyncio.get_running_loop().set_exception_handler(lambda _, context: world.rules.problems.append(f"{context}"))
        log.addHandler(handler)
        log.setLevel(logging.ERROR)
        try:
            with edges(world, seed):
                await world.run()
            return ""
        except AssertionError as error:
            return str(error)
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
            trace.extend(world.trace)

    with asyncio.Runner(loop_factory=partial(VirtualLoop, ROUND_SECONDS)) as runner:
        return runner.run(program()), trace
