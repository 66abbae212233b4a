"""What a person types as a tool's arguments, as values. Pure but for standard input."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from snakepit.errors import InvalidArguments


def parse_arguments(words: list[str]) -> dict[str, Any]:
    """`key=value` words, or one JSON object, or `-` for a JSON object on standard input. Raises InvalidArguments."""
    if words == ["-"]:
        return _object(sys.stdin.read(), "standard input")
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        return _object(words[0], "the argument")
    return dict(_pair(word) for word in words)


def _pair(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise InvalidArguments(f"argument {word!r} is not key=value: write key=value words, one JSON object, or - for standard input")
    return key, _value(text)


def _value(text: str) -> Any:
    """JSON where it is JSON, otherwise the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidArguments(f"{where} is no JSON object: {error}") from None
