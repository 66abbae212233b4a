"""The loop that async tools of this worker share."""

from __future__ import annotations

import asyncio

from snakepit import tool

OUTCOME = "value: null"


@tool
def closes_the_event_loop() -> None:
    asyncio.get_event_loop_policy().get_event_loop().close()
