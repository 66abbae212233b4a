"""What goes on beside a test, for as long as the test wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any


@contextlib.asynccontextmanager
async def task(coroutine: Coroutine[Any, Any, Any]) -> AsyncIterator[asyncio.Task[Any]]:
    """It runs, may not end by itself, and is cancelled at the end."""
    running = asyncio.create_task(coroutine)
    try:
        yield running
        assert not running.done(), "it has ended"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
