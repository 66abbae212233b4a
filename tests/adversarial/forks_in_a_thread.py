"""Both return from the tool."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: 0"
WORLD = "thread"


@tool
def forks_in_a_thread() -> int:
    child = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 5
