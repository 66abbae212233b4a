"""Work in the background: tasks that belong to one owner, which ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """The running tasks of one owner. asyncio itself holds a task only weakly, so each is kept here until it has ended."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> None:
        """Start `work` in the running loop. What it raises is logged by asyncio, like that of any task which nobody awaits."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

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
