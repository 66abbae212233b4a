"""In Python, where other threads have their turn every few milliseconds: not any more."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "DEADLINE: *the deadline *passed*"
TIMEOUT = 0.2


@tool
def keeps_the_interpreter() -> None:
    sys.setswitchinterval(1e6)
    while True:
        pass
