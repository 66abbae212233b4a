"""A session's leader can't."""

from __future__ import annotations

import os

from snakepit import tool

OUTCOME = "ToolError: PermissionError: [[]Errno 1] Operation not permitted"


@tool
def makes_a_group_of_its_own() -> None:
    os.setpgid(0, os.getppid())
