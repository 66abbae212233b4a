"""The loop that it runs on."""

from __future__ import annotations

import asyncio

from snakepit import tool

OUTCOME = "ToolError: RuntimeError: Event loop stopped before Future completed."


@tool
async def stops_the_event_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)
