"""The loop that other calls run on too."""

from __future__ import annotations

import asyncio
import sys

from snakepit import tool

OUTCOME = "ToolError: SystemExit: 3"
WORLD = "thread"


@tool
async def exits_in_a_shared_loop() -> None:
    await asyncio.sleep(0)
    sys.exit(3)
