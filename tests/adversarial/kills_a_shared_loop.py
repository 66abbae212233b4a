"""A task that outlives its call."""

from __future__ import annotations

import asyncio
import sys

from snakepit import tool

OUTCOME = "value: null"
WORLD = "thread"
mine: list[object] = []


@tool
async def kills_a_shared_loop() -> None:
    mine.append(asyncio.get_running_loop().call_soon(sys.exit, 3))
