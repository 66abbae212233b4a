"""More memory than it may have."""

from __future__ import annotations

import resource

from snakepit import tool

OUTCOME = "ToolError: MemoryError: "


@tool
def lowers_the_memory_limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)
