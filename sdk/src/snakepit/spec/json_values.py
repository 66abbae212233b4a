"""What YAML has and JSON, the language of the API server, doesn't; and how much of it a pool file may have. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from snakepit._values import strings
from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments

MOST_CHARACTERS = 512 * 1024
MOST_VALUES = 100_000
"""Of a file. What an alias stands for counts each time: a few of them can stand for billions."""

DEEPEST = 100
TOO_DEEP = f"the file is nested deeper than {DEEPEST} levels"

_LARGEST = 2**63 - 1


class Values:
    """Counts over all documents of a file."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def problem(self, document: Any, *, typed: bool = False) -> str:
        """What is wrong with the first value that can't be; empty: nothing. It stops there, so it ends for every document.

        `typed`: each value must be one that JSON has.
        """
        waiting = [("", 0, document)]
        while waiting:
            path, depth, value = waiting.pop()
            self._left -= 1
            if self._left < 0:
                return f"the file has more than {MOST_VALUES} values, with those that its aliases stand for: write fewer"
            if depth > DEEPEST:
                return TOO_DEEP
            if isinstance(value, dict | list):
                if len(value) > self._left:
                    self._left = 0
                    continue
                if (
                    typed
                    and isinstance(value, dict)
                    and (wrong := next((name for name in value if not isinstance(name, str)), None)) is not None
                ):
                    return f"{path or 'SnakePool'}: the name {quoted(str(wrong))} is no text in YAML: put it in quotes"
                waiting.extend((_below(path, name, value), depth + 1, each) for name, each in _parts(value))
            elif typed and (problem := _wrong(value)):
                return f"{path}: {problem}"
        return ""


def _parts(value: dict[Any, Any] | list[Any]) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _below(path: str, name: object, value: object) -> str:
    """Its end, where it is long."""
    here = f"{path}[{name}]" if isinstance(value, list) else f"{path}.{name}" if path else str(name)
    return here if len(here) <= strings.ECHOED else f"…{here[-strings.ECHOED :]}"


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
