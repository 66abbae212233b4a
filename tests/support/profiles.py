"""Adapters that say how they are run."""

from __future__ import annotations

import asyncio
import os
import threading
import time

from snakepit import Adapter, tool

PARTIES = 4
WAIT_SECONDS = 20.0


class Alone(Adapter):
    def setup(self) -> None:
        time.sleep(0.04)

    @tool
    def spell(self) -> tuple[float, float]:
        """From when to when it ran."""
        begin = time.monotonic()
        time.sleep(0.01)
        return begin, time.monotonic()

    @tool
    def who(self) -> tuple[int, bool, str | None]:
        """Its process, whether this is its main thread, and what BLAS goes by."""
        return os.getpid(), threading.current_thread() is threading.main_thread(), os.environ.get("OMP_NUM_THREADS")


class Together(Alone):
    thread_safe = True

    def setup(self) -> None:
        self.barrier = threading.Barrier(PARTIES)
        self.arrived = 0

    @tool
    def meet(self) -> None:
        """Returns when as many calls as there are slots are here."""
        self.barrier.wait(WAIT_SECONDS)

    @tool
    async def meet_later(self) -> int:
        """The same on the event loop; which one it is."""
        self.arrived += 1
        async with asyncio.timeout(WAIT_SECONDS):
            while self.arrived < PARTIES:
                await asyncio.sleep(0.001)
        return id(asyncio.get_running_loop())
