"""What a tool says of its progress, on its way to a client that reads as fast as it can."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

MOST_WAITING = 64
"""Of one call. A client that reads too slowly misses the older ones."""

Send = Callable[[float, float | None, str | None], Awaitable[None]]


class Relay:
    """`say` never waits; what was said is sent in order, and all of it before `relayed` ends."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[float, float | None, str]] = deque(maxlen=MOST_WAITING)
        self._said = asyncio.Event()
        self._ended = False

    def say(self, progress: float, message: str, total: float | None = 1.0) -> None:
        """`total` None: nobody knows it."""
        self._waiting.append((progress, total, message))
        self._said.set()

    def end(self) -> None:
        """Nothing more will be said."""
        self._ended = True
        self._said.set()

    async def run(self) -> None:
        """Until all is sent after `end`."""
        while not self._ended or self._waiting:
            await self._said.wait()
            self._said.clear()
            while self._waiting:
                progress, total, message = self._waiting.popleft()
                await self._send(progress, total, message or None)


class OfStream:
    """Of a tool that streams: the pieces so far, and the fraction that it says. So it grows, as MCP wants it, whichever comes first."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._pieces, self._fraction = 0, 0.0

    def piece(self, message: str) -> None:
        """One has come."""
        self._pieces += 1
        self._say(message)

    def fraction(self, fraction: float, message: str) -> None:
        """The tool says how far it is."""
        self._fraction = fraction
        self._say(message)

    def _say(self, message: str) -> None:
        """How much there will be is known only as long as there is no piece."""
        self._relay.say(self._pieces + self._fraction, message, None if self._pieces else 1.0)


@contextlib.asynccontextmanager
async def relayed(send: Send) -> AsyncIterator[Relay]:
    """A relay that runs meanwhile."""
    relay = Relay(send)
    task = asyncio.create_task(relay.run(), name="progress of an MCP call")
    try:
        yield relay
        relay.end()
        await task
    finally:
        task.cancel()
