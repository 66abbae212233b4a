"""The loop that other calls run on too."""

from __future__ import annotations

import asyncio

from snakepit import tool

OUTCOME = "value: 1"
WORLD = "thread"


@tool
async def stops_a_shared_loop() -> int:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    return 1
