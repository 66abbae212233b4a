"""The child ends as a script does."""

from __future__ import annotations

import os
import sys

from snakepit import tool

OUTCOME = "value: 7"


@tool
def forks_and_exits() -> int:
    child = os.fork()
    if not child:
        print("the child prints")
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
