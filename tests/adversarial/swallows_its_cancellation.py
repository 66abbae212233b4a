"""Each time that it is cancelled."""

from __future__ import annotations

import asyncio

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
TIMEOUT = 0.2


@tool
async def swallows_its_cancellation() -> None:
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            continue
