"""In C, with the lock that all threads need."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "DEADLINE: *the deadline *passed*"
TIMEOUT = 0.2


@tool
def holds_the_interpreter() -> None:
    sum(range(10**12))
