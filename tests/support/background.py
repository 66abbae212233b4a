"""An adapter whose setup() leaves tasks in the loop: they count, fork, leave, or wait."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from snakepit import Adapter, tool


def note(variable: str, text: str) -> None:
    """Add it to the file that the variable names."""
    with Path(os.environ[variable]).open("a") as file:
        file.write(text)


class Background(Adapter):
    async def setup(self) -> None:
        self.ticks = 0
        self.ended = asyncio.Event()
        self.tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._misbehave())]

    async def teardown(self) -> None:
        self.tasks[0].cancel()
        try:
            await self.tasks[0]
        except asyncio.CancelledError:
            note("NOTE", f"stopped after {self.ticks}")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.01)
            self.ticks += 1
            note("TICKS", ".")

    async def _misbehave(self) -> None:
        what = os.environ.get("MISBEHAVE")
        await asyncio.sleep(0.02)
        if what == "fork":
            if not (pid := os.fork()):
                await asyncio.sleep(0)
                return
            note("CHILD", str(pid))
        elif what == "stop the loop":
            asyncio.get_running_loop().stop()
        elif what == "exit":
            sys.exit(3)
        elif what == "fail":
            raise LookupError("in a task")

    @tool
    async def count(self) -> int:
        return self.ticks

    @tool
    def pid(self) -> int:
        return os.getpid()
