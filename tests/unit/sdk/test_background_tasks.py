"""Background tasks belong to an owner, which ends them."""

from __future__ import annotations

import asyncio
import gc

import pytest

from snakepit._tasks import Tasks, ask_each


async def test_a_task_that_nobody_else_holds_runs_to_its_end() -> None:
    tasks, ended = Tasks(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        gc.collect()
        ended.set()

    tasks.spawn(work(), "work")
    assert tasks
    await tasks.wait(10)
    assert ended.is_set()
    assert not tasks


async def test_what_runs_is_cancelled_and_waited_for_when_its_owner_stops() -> None:
    tasks, cleaned = Tasks(), []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    for number in range(3):
        tasks.spawn(work(number))
    await asyncio.sleep(0)
    await tasks.wait(0.001)
    assert tasks, "a wait that is over ends nothing"
    await tasks.stop()
    assert (sorted(cleaned), bool(tasks)) == ([0, 1, 2], False)
    await tasks.stop()


# ---- many questions


async def test_each_is_asked_so_many_at_a_time_and_answers_are_in_order() -> None:
    open_, most = 0, 0

    async def ask(number: int) -> int:
        nonlocal open_, most
        open_ += 1
        most = max(most, open_)
        for _ in range(number % 3):
            await asyncio.sleep(0)
        open_ -= 1
        return number * 10

    assert await ask_each(range(20), ask, at_once=4) == [number * 10 for number in range(20)]
    assert (most, open_) == (4, 0)
    assert await ask_each([], ask, at_once=4) == []


async def test_what_one_raises_is_raised_and_the_others_end() -> None:
    began, ended = set[int](), set[int]()

    async def ask(number: int) -> None:
        began.add(number)
        try:
            if number == 2:
                raise LookupError("two")
            await asyncio.Event().wait()
        finally:
            ended.add(number)

    with pytest.raises(LookupError, match="two"):
        await ask_each(range(10), ask, at_once=3)
    assert began == ended
    assert len(began) <= 4, "nobody is asked any more"


async def test_who_gives_up_waiting_leaves_nobody_asking() -> None:
    ended = set[int]()

    async def ask(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.add(number)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ask_each(range(10), ask, at_once=3)
    assert ended == {0, 1, 2}
