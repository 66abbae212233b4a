"""The adapter of the benchmarks."""

import time

from snakepit import Adapter, tool


class Echo(Adapter):
    """As little work as a tool can do."""

    @tool
    def echo(self, text: str) -> str:
        """Give back what came."""
        return text

    @tool
    def wait(self, seconds: float) -> None:
        """Hold the worker for so long, without using the CPU."""
        time.sleep(seconds)

    @tool
    def spell(self, seconds: float) -> tuple[float, float]:
        """Wait, and say from when to when: CLOCK_MONOTONIC seconds, which the processes of a machine share."""
        began = time.monotonic()
        time.sleep(seconds)
        return began, time.monotonic()
