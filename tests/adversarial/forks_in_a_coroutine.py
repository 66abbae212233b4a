"""Both go on in the event loop."""

from __future__ import annotations

import asyncio
import os

from snakepit import tool

OUTCOME = "value: 0"


@tool
async def forks_in_a_coroutine() -> int:
    child = os.fork()
    await asyncio.sleep(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 5
