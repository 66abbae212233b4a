"""As on a full disk."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "ToolError: OSError: [[]Errno 28] No space left on device"


@tool
def prints_where_there_is_no_room() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    os.write(1, b"x")
