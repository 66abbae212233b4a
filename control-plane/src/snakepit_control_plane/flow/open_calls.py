"""How many calls a replica has open, so that one that stops can wait for the last of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class OpenCalls:
    """What a router counts. `open_calls`: those whose callers have not been answered."""

    def __init__(self) -> None:
        self.open_calls = 0
        self._delivering = 0
        self._idle: asyncio.Event | None = None

    def ended(self) -> None:
        """One open call less."""
        self.open_calls -= 1
        if self._idle is not None:
            self._perhaps_idle()

    @contextlib.contextmanager
    def delivering(self) -> Iterator[None]:
        """A call with a stream of its own. It is closed when its last words are taken from the router; a slow reader has them later."""
        self._delivering += 1
        try:
            yield
        finally:
            self._delivering -= 1
            self._perhaps_idle()

    @property
    def is_idle(self) -> bool:
        """Is no call open, and has everybody been given what there was to say?"""
        return not self.open_calls and not self._delivering

    async def idle(self) -> None:
        """Wait for `is_idle`."""
        while not self.is_idle:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def _perhaps_idle(self) -> None:
        if self._idle is not None and self.is_idle:
            self._idle.set()
