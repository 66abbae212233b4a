"""Waiting until a descriptor can be read or written, again and again, without telling the kernel each time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Readiness:
    """A descriptor can be read, or written. The loop goes on watching it for as long as it is waited for again and again."""

    def __init__(self, descriptor: int, watch: Callable[..., object], unwatch: Callable[[int], object]) -> None:
        self._descriptor = descriptor
        self._watch, self._unwatch = watch, unwatch
        self._watched = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        return self._waiter is not None

    async def wait(self) -> None:
        """One at a time; who waits while another does takes its place."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if not self._watched:
            self._watched = True
            self._watch(self._descriptor, self._came)
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None
            del waiter  # Of a failure's traceback, which it would hold in turn.

    def fail(self, error: Exception) -> None:
        """For whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def close(self) -> None:
        if self._watched:
            self._watched = False
            self._unwatch(self._descriptor)

    def _came(self) -> None:
        if self._waiter is None:
            self.close()
        elif not self._waiter.done():
            self._waiter.set_result(None)
