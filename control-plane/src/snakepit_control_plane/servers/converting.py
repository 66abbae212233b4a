"""Large conversions between Struct and payload, off the event loop: one at a time, so that the loop has its turn every few milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

INLINE_BYTES = 16 * 1024
"""Up to here a conversion takes a few milliseconds at most, and is done where it is asked for."""

Converted = TypeVar("Converted")

_thread = ThreadPoolExecutor(1, "json form")


async def convert(size: int, work: Callable[[], Converted]) -> Converted:
    """What `work` gives or raises; `size`: bytes of what it converts."""
    if size <= INLINE_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_thread, work)
