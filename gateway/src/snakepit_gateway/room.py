"""Room for bodies of requests. Who comes with a large one when there is none waits, and its connection is not read meanwhile. Small ones
have as much room again, and wait for nothing."""

from __future__ import annotations

import asyncio
from collections import deque

from snakepit_gateway.problems import GatewayFull

LARGE_BYTES = 256 * 1024
"""A body up to this is a small one."""

WAIT_SECONDS = 30.0


class Room:
    """Of so many bytes, for whoever came first. One large body alone always has room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = self._small = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """Bytes that are taken."""
        return self._held

    async def take(self, size: int) -> None:
        """Until `leave`. Raises GatewayFull where none came free for long."""
        if not self._waiting and self._fits(size):
            self._held += size
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((size, waiter))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiter
        except BaseException as error:
            self._give_up(size, waiter)
            if not isinstance(error, TimeoutError):
                raise
            raise self._full("large") from None

    def leave(self, size: int) -> None:
        self._held -= size
        while self._waiting and self._fits(self._waiting[0][0]):
            size, waiter = self._waiting.popleft()
            self._held += size
            waiter.set_result(None)

    def squeeze_in(self, size: int) -> None:
        """So many bytes more of a small body, until `let_out`. Raises GatewayFull."""
        if self._small + size > self._most:
            raise self._full("small")
        self._small += size

    def let_out(self, size: int) -> None:
        self._small -= size

    def _full(self, kind: str) -> GatewayFull:
        details = {"limit": "SNAKEPIT_GATEWAY_MAX_HELD_BYTES", "bytes": str(self._most)}
        said = f"this gateway holds other {kind} requests, {self._most} bytes in all: try again"
        return GatewayFull(said, details=details, retry_after=1.0)

    def _fits(self, size: int) -> bool:
        return self._held + size <= self._most or not self._held

    def _give_up(self, size: int, waiter: asyncio.Future[None]) -> None:
        if waiter.done() and not waiter.cancelled():
            self.leave(size)
        else:
            self._waiting.remove((size, waiter))
            self.leave(0)
