"""A task that it has started ends the event loop under it."""

from __future__ import annotations

import asyncio
import sys

from snakepit import tool

OUTCOME = "ToolError: SystemExit: 3"


@tool
async def exits_in_a_task() -> None:
    async def leave() -> None:
        sys.exit(3)

    task = asyncio.create_task(leave())
    await asyncio.sleep(60)
    await task
