"""An exception whose text raises."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: Mute: (Mute.__str__ raised ValueError)"


@tool
def raises_what_can_not_be_printed() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

        __repr__ = __str__

    raise Mute
