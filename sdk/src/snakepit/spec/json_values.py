"""What YAML has and JSON, the language of the API server, doesn't; and how much of it a pool file may have. Pure."""

from __future__ import annotations

import math
from typing import Any

from snakepit._values import strings
from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments

MOST_CHARACTERS = 512 * 1024
MOST_VALUES = 100_000
"""Of a pool. What an alias stands for counts each time: a few of them can stand for billions."""

DEEPEST = 100
TOO_DEEP = f"the file is nested deeper than {DEEPEST} levels"

_LARGEST = 2**63 - 1


def problem(pool: dict[Any, Any]) -> str:
    """Say what is wrong with the first value that JSON can't have; the text is empty where nothing is.

    The walk stops there, so it ends for every document.
    """
    left = MOST_VALUES
    waiting: list[tuple[str, int, Any]] = [("", 0, pool)]
    while waiting:
        path, depth, value = waiting.pop()
        left -= 1
        if left < 0 or (isinstance(value, dict | list) and len(value) > left):
            return f"the file has more than {MOST_VALUES} values, with those that its aliases stand for: write fewer"
        if depth > DEEPEST:
            return TOO_DEEP
        if isinstance(value, dict):
            if odd := [name for name in value if not isinstance(name, str)]:
                return f"{path or 'SnakePool'}: the name {quoted(str(odd[0]))} is no text in YAML: put it in quotes"
            waiting.extend((_end_of(f"{path}.{name}" if path else name), depth + 1, each) for name, each in value.items())
        elif isinstance(value, list):
            waiting.extend((_end_of(f"{path}[{index}]"), depth + 1, each) for index, each in enumerate(value))
        elif wrong := _wrong(value):
            return f"{path}: {wrong}"
    return ""


def _end_of(path: str) -> str:
    return path if len(path) <= strings.ECHOED else f"…{path[-strings.ECHOED :]}"


def _wrong(value: Any) -> str:
    if isinstance(value, str):
        try:
            strings.check("it", value)
        except InvalidArguments as error:
            return error.message
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"{value} is no number that JSON has"
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        return "the number has more digits than 64 bits hold"
    if value is None or isinstance(value, bool | int):
        return ""
    return f"{quoted(str(value))} is read as a {type(value).__name__} by YAML: put it in quotes"
