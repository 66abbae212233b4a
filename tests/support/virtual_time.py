"""An event loop whose clock jumps to the next timer instead of waiting for it: seconds of a test cost no time, and no test is too slow."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """For programs that do no I/O: where nothing is due and nothing is ready, RuntimeError says that it would wait for ever.

    A timer is due up to a nanosecond before its time, by asyncio's rule. Who then finds by the clock that it is too early waits anew, and
    would do so for ever where each round of the loop takes no time: such programs want `round_seconds`.
    """

    def __init__(self, round_seconds: float = 0.0) -> None:
        self.round_seconds = round_seconds
        self.now = 1000.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is due: this would never end")
        self._loop.now += max(self._loop.round_seconds, timeout)
        return []


def run(program: Coroutine[Any, Any, T]) -> T:
    """Run a program on a clock that begins at 1000 seconds, as no real one begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program)
