"""What a caller gets of a pool by saying that its calls are urgent, beside others who don't: nothing that is theirs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from snakepit.errors import PoolSaturated
from snakepit_control_plane.policy.rights import CALL
from snakepit_control_plane.server import Running
from support.attack import attacker
from support.callers import ADA, BOB, token
from support.control_plane import Caller, eventually, waiting
from support.reviewer import Reviewer
from support.simulated_agent import SimulatedAgent, settings

HIGH = "PRIORITY_HIGH"
CONNECTIONS = 60


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return asking_settings


@contextlib.asynccontextmanager
async def connections(server: Running, subject: str, count: int) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as stack:
        yield [Caller(await stack.enter_async_context(attacker(server)), token(subject)) for _ in range(count)]


async def test_sixty_connections_of_one_caller_with_high_calls_get_every_other_turn_and_the_last_places_are_for_others(
    server: Running, agent: SimulatedAgent, asks: Reviewer
) -> None:
    asks.give(ADA, CALL)
    asks.give(BOB, CALL)
    server.fleet.sync([settings(queue={"maxSize": 81, "timeoutSeconds": 60})], complete=True, drain=[])
    async with connections(server, BOB, CONNECTIONS) as bobs, connections(server, ADA, 1) as (ada,):
        first = ada.start("hang")
        await eventually(lambda: agent.running)
        flood = [bob.start("echo", priority=HIGH, metadata={"who": "bob"}) for bob in bobs for _ in range(2)]
        await eventually(lambda: (waiting(server), sum(each.done() for each in flood)) == (72, len(flood) - 72))
        few = [ada.start("echo", metadata={"who": "ada"}) for _ in range(4)]
        await eventually(lambda: waiting(server) == 76)
        agent.let_go()
        await asyncio.gather(first, *few)
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        assert sum(isinstance(each, PoolSaturated) for each in outcomes) == len(flood) - 72
        order = [call.metadata["who"] for call in agent.calls[1:]]
        assert order[:8] == ["bob", "ada"] * 4
