"""Wakes the router when a call's time has come: many deadlines, one timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.timers import Wheel


class Deadlines:
    """`due` is called for each call whose time has come, with the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, due: Callable[[Call, float], None]) -> None:
        self._loop = loop
        self._due = due
        self._wheel: Wheel[Call] = Wheel()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = 0.0

    def set(self, call: Call, at: float) -> None:
        """One time for each call: it replaces the one before."""
        self._wheel.set(call, at)
        if self._timer is None or at < self._armed_at:
            self._arm()

    def discard(self, call: Call) -> None:
        self._wheel.discard(call)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self.stop()
        at = self._wheel.next_due()
        self._timer = None if at is None else self._loop.call_at(at, self._tick)
        self._armed_at = at or 0.0

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = None
        for call in self._wheel.due(now + 1e-6):
            self._due(call, now)
        self._arm()
