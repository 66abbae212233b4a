"""Adapters of the benchmarks of a capsule: one that is small, one of 200 MiB, one that brings numpy and scikit-learn."""

from __future__ import annotations

import os
import time

from snakepit import Adapter, tool

SETUP_SECONDS = 0.04


class Small(Adapter):
    """Nothing but a `setup()` of under 50 ms."""

    def setup(self) -> None:
        time.sleep(SETUP_SECONDS)
        self.ready_at = time.monotonic()

    @tool
    def who(self, seconds: float = 0.0) -> tuple[int, float]:
        """This worker's pid, and when its setup() returned; after so many seconds of work."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return os.getpid(), self.ready_at
