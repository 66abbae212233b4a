"""A list that holds itself."""

from __future__ import annotations

from snakepit import tool

OUTCOME = 'value: {"$unserializable": "builtins.list"}'


@tool
def returns_itself() -> object:
    mine: list[object] = []
    mine.append(mine)
    return mine
