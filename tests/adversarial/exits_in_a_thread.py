"""Means to end a script."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "ToolError: SystemExit: 3"
WORLD = "thread"


@tool
def exits_in_a_thread() -> None:
    sys.exit(3)
