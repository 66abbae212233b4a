"""How many bytes of arguments are here at a time, and whose turn it is."""

from __future__ import annotations

import asyncio

from snakepit_agent.calls.budget import MemoryBudget


async def ask(budget: MemoryBudget, *sizes: int) -> list[asyncio.Task[None]]:
    """One after the other; all have had time to take what there is."""
    asking = [asyncio.create_task(budget.enter(size)) for size in sizes]
    await turns()
    return asking


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_asks_waits_for_room_and_in_turn() -> None:
    budget = MemoryBudget(100)
    first, second, third = await ask(budget, 80, 50, 10)
    assert (first.done(), second.done(), third.done()) == (True, False, False)
    budget.leave(80)
    await turns()
    assert (second.done(), third.done(), budget.used) == (True, True, 60)


async def test_who_gives_up_at_the_head_of_the_line_holds_up_nobody() -> None:
    budget = MemoryBudget(100)
    _, head, small, large = await ask(budget, 80, 50, 10, 50)
    head.cancel()
    await turns()
    assert (small.done(), large.done(), budget.used) == (True, False, 90)
    budget.leave(80)
    await turns()
    assert (large.done(), budget.used) == (True, 60)


async def test_of_a_line_that_has_given_up_nobody_takes_room() -> None:
    budget = MemoryBudget(100)
    _, *waiting = await ask(budget, 100, 60, 60, 60)
    for each in waiting:
        each.cancel()
    budget.leave(100)
    await turns()
    (whole,) = await ask(budget, 100)
    assert (whole.done(), budget.used) == (True, 100)
