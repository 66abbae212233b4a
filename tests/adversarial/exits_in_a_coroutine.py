"""asyncio lets this one through the event loop."""

from __future__ import annotations

import asyncio
import sys

from snakepit import tool

OUTCOME = "ToolError: SystemExit: 3"


@tool
async def exits_in_a_coroutine() -> None:
    await asyncio.sleep(0)
    sys.exit(3)
