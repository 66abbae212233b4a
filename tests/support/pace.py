"""An adapter whose tools say when and where they ran."""

from __future__ import annotations

import os
import time
from pathlib import Path

from snakepit import Adapter, tool


class Pace(Adapter):
    """Times are CLOCK_MONOTONIC seconds, which the processes of a machine share."""

    thread_safe = True

    @tool
    def spell(self, seconds: float) -> list[float]:
        """Take so long; which process, begin, end."""
        begin = time.monotonic()
        time.sleep(seconds)
        return [os.getpid(), begin, time.monotonic()]

    @tool
    def step(self, number: int, journal: str, seconds: float = 0.0) -> list[float]:
        """Quick unless told otherwise; it leaves a line in the journal each time that it runs."""
        with Path(journal).open("a") as file:
            file.write(f"{number}\n")
        begin = time.monotonic()
        if seconds:
            time.sleep(seconds)
        return [os.getpid(), begin, time.monotonic()]
