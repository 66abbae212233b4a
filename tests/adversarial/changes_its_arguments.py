"""And keeps them."""

from __future__ import annotations

from snakepit import tool

OUTCOME = "value: null"
ARGUMENTS = {"value": {"a": 1}}
mine: list[object] = []


@tool
def changes_its_arguments(value: dict[str, object]) -> None:
    value["x"] = value
    mine.append(value)
    value.clear()
