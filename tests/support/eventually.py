"""Waiting for what a test expects."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 20.0


async def eventually(look: Callable[[], Any], what: str = "", seconds: float = PATIENCE_SECONDS) -> Any:
    """What `look` gives, or what comes of it where that is awaited, as soon as it is true; fails after so many seconds."""
    last: object = None
    try:
        async with asyncio.timeout(seconds):
            while not (last := await found if inspect.isawaitable(found := look()) else found):
                await asyncio.sleep(0.005)
            return last
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what or look}; last: {last!r}") from None
