"""As if somebody had pressed Ctrl-C."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: KeyboardInterrupt: "


@tool
def raises_keyboard_interrupt() -> None:
    raise KeyboardInterrupt
