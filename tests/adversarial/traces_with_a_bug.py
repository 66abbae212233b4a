"""A trace function that raises, also in our own code."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "ToolError: ZeroDivisionError: division by zero"


@tool
def traces_with_a_bug() -> None:
    sys.settrace(lambda *_: 1 / 0)
