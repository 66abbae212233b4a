"""Work beside other work: tasks that belong to one owner, which ends them, and many questions of which so many are asked at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def ask_each(items: Iterable[T], ask: Callable[[T], Awaitable[R]], *, at_once: int) -> list[R]:
    """What `ask` gives for each, in their order. Raises what it raises first, and then none of them is asked any more."""
    turns = asyncio.Semaphore(at_once)

    async def in_turn(item: T) -> R:
        async with turns:
            return await ask(item)

    tasks = [asyncio.create_task(in_turn(each), name="ask") for each in items]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class Tasks:
    """The running tasks of one owner. asyncio itself holds a task only weakly, so each is kept here until it has ended."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        """Start `work` in the running loop. What it raises is logged by asyncio, unless whoever takes the task asks it."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """Tell all of them to end, and don't wait."""
        for task in self._running:
            task.cancel()

    async def wait(self, seconds: float | None = None) -> None:
        """Until all have ended, or so many seconds have passed."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def stop(self) -> None:
        """Cancel all of them, and wait until they have ended."""
        self.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
