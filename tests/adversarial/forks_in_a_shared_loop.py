"""Both go on in the loop that other calls run on too."""

from __future__ import annotations

import asyncio
import os

from snakepit import tool

OUTCOME = "value: 0"
WORLD = "thread"


@tool
async def forks_in_a_shared_loop() -> int:
    child = os.fork()
    await asyncio.sleep(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 5
