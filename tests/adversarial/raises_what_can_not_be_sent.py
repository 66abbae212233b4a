"""A lone surrogate, as in the name of a file that is no UTF-8, and notes that raise."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: Odd: *udcff"


class Odd(Exception):
    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


@tool
def raises_what_can_not_be_sent() -> None:
    raise Odd("\udcff")
