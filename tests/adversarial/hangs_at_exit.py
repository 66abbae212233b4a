"""In a handler of the interpreter's end."""

from __future__ import annotations

import atexit
import time

from snakepit import tool

OUTCOME = "value: null"
LEAVES = "recycled"


@tool
def hangs_at_exit() -> None:
    atexit.register(time.sleep, 600)
