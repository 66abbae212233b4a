"""An exception that generators end by."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: GeneratorExit: 1"


@tool
def raises_generator_exit() -> None:
    raise GeneratorExit(1)
