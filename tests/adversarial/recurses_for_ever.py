"""As deep as Python lets it."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: RecursionError: maximum recursion depth exceeded*"


@tool
def recurses_for_ever() -> None:
    return recurses_for_ever()
