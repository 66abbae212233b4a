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
    def step(self, number: int, journal: str, seconds: float = 0.0, until: str = "") -> list[float]:
        """Quick unless told otherwise; it leaves a line in the journal each time that it runs. `until`: it ends when that file is there."""
        with Path(journal).open("a") as file:
            file.write(f"{number}\n")
        begin = time.monotonic()
        if seconds:
            time.sleep(seconds)
        while until and not Path(until).exists():
            time.sleep(0.001)
        return [os.getpid(), begin, time.monotonic()]
