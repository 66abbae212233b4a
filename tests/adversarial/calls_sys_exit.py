"""Means to end a script."""

from __future__ import annotations

import sys

from snakepit import tool

OUTCOME = "ToolError: SystemExit: 3"


@tool
def calls_sys_exit() -> None:
    sys.exit(3)
