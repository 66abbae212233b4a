"""Whose turn it is, of connections on which more has come than one turn of the loop is for.

One of them goes on at a time, and between two the loop does all else that there is, also what that brings with it. So whoever has little
to say waits for one of them at each step of its way, and not for all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

TURN_SECONDS = 0.001
"""What has come on one connection is handed over for so long; then it is others' turn, and until all of it has been, nothing more is read.
One message may have 65,536 calls, which take seconds."""


class Turns:
    """Of connections that share a loop. Each waits once at most. `seconds`: a turn's, instead of TURN_SECONDS."""

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = TURN_SECONDS if seconds is None else seconds
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, go_on: Callable[[], None]) -> None:
        """`go_on` is called in a later turn of the loop, after those that wait already."""
        self._waiting.append(go_on)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    async def turn(self) -> None:
        """Wait for it."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wait(lambda: None if mine.done() else mine.set_result(None))
        await mine

    def _next(self) -> None:
        """After what has come since the last one, and what was to be written for that: it stands behind this."""
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        go_on = self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        go_on()
