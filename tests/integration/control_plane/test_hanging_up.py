"""Links end with many calls open: they end with them, and others have their turns meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from snakepit._wire.lane import AT_ONCE
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.attack import ByHand, attacker, called
from support.control_plane import Caller, eventually, replica, waiting
from support.simulated_agent import simulated_agent

HangUp = Callable[[Sequence[ByHand]], Coroutine[Any, Any, None]]

COUNT = 800
"""Calls that wait: fewer than a ninth less than a queue has room for."""


async def most_in_a_turn(server: Running, count: int, hang_up: HangUp) -> int:
    """So many waiting calls of so many links end between two turns of the loop, when those hang up."""
    async with simulated_agent(server.address) as agent, attacker(server) as channel:
        first = Caller(channel).start("hang")
        await eventually(lambda: agent.running, "the worker is busy")
        links = [await ByHand(channel).open() for _ in range(count)]
        frames = [link_pb2.Frame(call=called("hang", id=id_, call_id=str(id_))) for id_ in range(1, COUNT // count + 1)]
        for link in links:
            await link.stream.write(link_pb2.LinkRequest(frames=frames))
        await eventually(lambda: waiting(server) == COUNT, "all wait")
        hanging_up = asyncio.create_task(hang_up(links))
        most, before = 0, COUNT
        async with asyncio.timeout(20):
            while before:
                await asyncio.sleep(0)
                now = waiting(server)
                most, before = max(most, before - now), now
        await hanging_up
        agent.let_go()
        await first
        await eventually(lambda: server.flow.calls.count == 0, "no call is open")
        return most


async def cancelled(links: Sequence[ByHand]) -> None:
    for link in links:
        link.stream.cancel()


async def breaking_the_rules(links: Sequence[ByHand]) -> None:
    """Two calls of one id: all are told why they end."""
    for link in links:
        await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(call=called("hang", id=1))]))


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("hang_up", [cancelled, breaking_the_rules])
async def test_the_calls_of_links_that_end_are_cancelled_a_few_in_each_turn_of_the_loop(hang_up: HangUp, count: int) -> None:
    async with replica() as server:
        assert 0 < await most_in_a_turn(server, count, hang_up) <= 2 * AT_ONCE, (
            "those of a turn, and of the next one, before the test's own"
        )
