"""The child raises what nobody catches."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "value: 1"


@tool
def forks_and_fails() -> int:
    child = os.fork()
    if not child:
        raise ValueError("in the child")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
