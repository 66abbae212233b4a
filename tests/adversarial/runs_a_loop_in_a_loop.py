"""As if it were not in one."""

from __future__ import annotations

import asyncio

from snakepit import tool

OUTCOME = "ToolError: RuntimeError: This event loop is already running"


@tool
async def runs_a_loop_in_a_loop() -> None:
    await asyncio.to_thread(asyncio.run, asyncio.sleep(0))
    asyncio.get_running_loop().run_until_complete(asyncio.sleep(0))
