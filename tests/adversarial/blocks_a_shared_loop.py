"""The loop that other calls run on too."""

from __future__ import annotations

import time

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
WORLD = "thread"
TIMEOUT = 0.2


@tool
async def blocks_a_shared_loop() -> None:
    time.sleep(60)
