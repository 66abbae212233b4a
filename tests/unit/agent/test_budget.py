"""How many bytes of arguments are here at a time, and whose turn it is."""

from __future__ import annotations

import asyncio

from snakepit_agent.calls.budget import MemoryBudget


async def test_who_asks_waits_for_room_and_in_turn() -> None:
    budget = MemoryBudget(100)
    first, second, third = budget.ask(80), budget.ask(50), budget.ask(10)
    assert (first.done(), second.done(), third.done()) == (True, False, False)
    budget.leave(80)
    assert (second.done(), third.done(), budget.used) == (True, True, 60)


async def test_who_gives_up_at_the_head_of_the_line_holds_up_nobody() -> None:
    budget = MemoryBudget(100)
    budget.ask(80)
    head, small, large = budget.ask(50), budget.ask(10), budget.ask(50)
    head.cancel()
    await asyncio.sleep(0)
    assert (small.done(), large.done(), budget.used) == (True, False, 90)
    budget.leave(80)
    assert (large.done(), budget.used) == (True, 60)


async def test_of_a_line_that_has_given_up_nobody_takes_room() -> None:
    budget = MemoryBudget(100)
    budget.ask(100)
    for waiting in [budget.ask(60) for _ in range(3)]:
        waiting.cancel()
    budget.leave(100)
    await asyncio.sleep(0)
    assert (budget.used, budget.ask(100).done()) == (0, True)
