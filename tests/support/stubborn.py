"""An adapter whose tools say when they have begun, and one that doesn't stop when it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator

from snakepit import Adapter, Context, tool


class Stubborn(Adapter):
    @tool
    def hold(self, seconds: float, *, ctx: Context) -> str:
        """Says that it has begun, and sleeps."""
        ctx.progress(0.0, "begun")
        time.sleep(seconds)
        return "held"

    @tool
    def cling(self, *, ctx: Context) -> None:
        """Swallows every interrupt."""
        ctx.progress(0.0, "begun")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                continue

    @tool
    def echo(self, value: int = 0) -> int:
        return value

    @tool
    def nap(self, value: int) -> int:
        """As echo, but not so quick that results leave together."""
        time.sleep(0.001)
        return value

    @tool
    def forever(self) -> Iterator[int]:
        i = 0
        while True:
            yield i
            i += 1
