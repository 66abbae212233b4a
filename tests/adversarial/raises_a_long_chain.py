"""Ten thousand exceptions, each the cause of the next."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "ToolError: ValueError: 9999"


@tool
def raises_a_long_chain() -> None:
    last: BaseException | None = None
    for number in range(10_000):
        error = ValueError(number)
        error.__cause__, last = last, error
    raise error
