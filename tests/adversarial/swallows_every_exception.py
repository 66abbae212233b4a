"""Also the one that interrupts it."""

from __future__ import annotations

import time

from snakepit import tool

OUTCOME = "DEADLINE: the deadline passed, and tool * did not stop*"
TIMEOUT = 0.2


@tool
def swallows_every_exception() -> None:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue
