"""Background tasks belong to an owner, which ends them."""

from __future__ import annotations

import asyncio
import gc

from snakepit._tasks import Tasks


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
