"""An event loop whose clock jumps to the next timer instead of waiting for it: seconds of a test cost no time, and no test is too slow."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION = 1e-9


class VirtualLoop(asyncio.SelectorEventLoop):
    """For programs that do no I/O: where nothing is due and nothing is ready, RuntimeError says that it would wait for ever.

    A timer is due up to a nanosecond before its time, by asyncio's rule. Who then finds by the clock that it is too early waits anew, and
    would do so for ever where each round of the loop takes no time: such programs want `round_seconds`.

    It selects nothing, and its timers are ordered by time and age without a call of Python: simulations have little else to do.
    """

    _ready: Any
    _stopping: bool

    def __init__(self, round_seconds: float = 0.0) -> None:
        super().__init__()
        self.round_seconds = round_seconds
        self.now = 1000.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._ages = itertools.count()

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._ages), timer))
        return timer

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.TimerHandle:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise RuntimeError("everybody waits, and nothing is due: this would never end")
            self.now += max(self.round_seconds, timers[0][0] - self.now)
        else:
            self.now += self.round_seconds
        due = self.now + RESOLUTION
        while timers and timers[0][0] < due:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle.cancelled():
                handle._run()  # noqa: SLF001  # an event loop's own


def run(program: Coroutine[Any, Any, T]) -> T:
    """Run a program on a clock that begins at 1000 seconds, as no real one begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(program)
