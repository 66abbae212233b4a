"""Into a pipe that is full."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "DEADLINE: *the deadline *passed*"
TIMEOUT = 0.2


@tool
def prints_where_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.dup2(writer, 1)
    os.write(1, b"x" * 10_000_000)
