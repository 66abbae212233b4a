"""An exception with 100 MB of text."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: ValueError: xxx*... (100000000 characters)"


@tool
def raises_a_gigantic_message() -> None:
    raise ValueError("x" * 100_000_000)
