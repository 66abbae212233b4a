"""An adapter whose tools take and give much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from snakepit import Adapter, Context, tool


class Bulky(Adapter):
    made = 0

    @tool
    def echo(self, value: Any) -> Any:
        return value

    @tool
    def size(self, value: Any) -> int:
        return len(value)

    @tool
    def make(self, size: int, unused: Any = None) -> bytes:
        return bytes(size)

    @tool
    def parts(self, count: int) -> list[bytes]:
        return [b"x"] * count

    @tool
    def report(self, size: int, steps: int, unused: Any = None, *, ctx: Context) -> bytes:
        for step in range(steps):
            ctx.progress((step + 1) / steps, f"step {step + 1}")
        return bytes(size)

    @tool
    def inspect(self, array: Any) -> list[Any]:
        return [float(array.sum()), bool(array.flags.owndata), bool(array.flags.writeable)]

    @tool
    def chunks(self, sizes: list[int]) -> Iterator[bytes]:
        for size in sizes:
            yield bytes(size)

    @tool
    def slices(self, value: bytes, fail_at: int) -> Iterator[bytes]:
        for index in range(4):
            if index == fail_at:
                raise LookupError("no more")
            yield value[: len(value) // 4]

    @tool
    def endless(self, size: int, *, ctx: Context) -> Iterator[bytes]:
        while True:
            ctx.check()
            self.made += 1
            yield bytes(size)

    @tool
    def produced(self) -> int:
        """How many chunks `endless` has made."""
        return self.made

    @tool
    def pause(self, seconds: float) -> Iterator[int]:
        yield 1
        time.sleep(seconds)
        yield 2

    @tool
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Shared(Bulky):
    """For several threads."""

    thread_safe = True
