"""An adapter whose tools take and give much."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
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
    def awaited(self, sizes: list[int], path: str, *, ctx: Context) -> Iterator[bytes]:
        """Before each chunk it says how far it is, and waits until somebody has made the file `path`.1, and so on."""
        for step, size in enumerate(sizes, 1):
            ctx.progress(step / len(sizes), f"step {step}")
            while not Path(f"{path}.{step}").exists():
                ctx.check()
                time.sleep(0.005)
            yield bytes(size)

    @tool
    def murmur(self, seconds: float, *, ctx: Context) -> Iterator[int]:
        """Two chunks, and in between, for so long, only words of progress."""
        yield 1
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.1)
            ctx.progress(0.5)
        yield 2

    @tool
    def finishing(self, size: int, *, ctx: Context) -> Iterator[bytes]:
        """A chunk, and right before the end a word of progress."""
        yield bytes(size)
        ctx.progress(1.0, "done")

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
