"""Tools for several slots: one waits at a gate that another opens, so that a test decides when a call ends."""

from __future__ import annotations

import os
import threading
import time

from snakepit import Adapter, Context, tool


class Threaded(Adapter):
    thread_safe = True

    def setup(self) -> None:
        self.gate = threading.Event()

    @tool
    def wait_at_the_gate(self, *, ctx: Context) -> None:
        while not self.gate.wait(0.01):
            ctx.check()
        self.gate.clear()

    @tool
    def open_the_gate(self) -> None:
        self.gate.set()

    @tool
    def quick(self) -> str:
        return "quick"

    @tool
    def spell(self, seconds: float) -> list[float]:
        """Take so long: begin and end."""
        begin = time.monotonic()
        time.sleep(seconds)
        return [begin, time.monotonic()]

    @tool
    def spin(self, *, ctx: Context) -> None:
        while True:
            ctx.check()
            time.sleep(0.001)

    @tool
    def exit(self, code: int, seconds: float) -> None:
        time.sleep(seconds)
        os._exit(code)
