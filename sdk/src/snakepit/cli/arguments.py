"""What a person types as a tool's arguments, as values. Reads standard input and the files that are named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from snakepit.cli import schemas
from snakepit.errors import InvalidArguments

FORMS = "write key=value, key=@FILE or key:=JSON words, one JSON object, or - for a JSON object on standard input"


def wants_schema(words: list[str]) -> bool:
    """Does what they mean depend on what the tool takes?"""
    return any("=" in word and not word.partition("=")[0].endswith(":") for word in words) and not _is_object(words)


def read_file(file: str) -> bytes:
    """What is in it; - for standard input. Raises OSError."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()


def parse_arguments(words: list[str], schema: schemas.Schema | None = None, read: Callable[[str], bytes] = read_file) -> dict[str, Any]:
    """The arguments, by the tool's schema where it is known. Raises InvalidArguments."""
    if words == ["-"]:
        return _object(read("-"), "standard input")
    if _is_object(words):
        return _object(words[0].encode("utf-8", "surrogateescape"), "the argument")
    values: dict[str, Any] = {}
    for word in words:
        key, value = _pair(word, schema or {}, read)
        if key in values:
            raise InvalidArguments(f"argument `{key}` is there twice")
        values[key] = value
    return values


def _is_object(words: list[str]) -> bool:
    return len(words) == 1 and words[0].lstrip().startswith("{")


def _pair(word: str, schema: schemas.Schema, read: Callable[[str], bytes]) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    name = key.removesuffix(":")
    if not equals or not name:
        raise InvalidArguments(f"argument {word!r} is not key=value: {FORMS}")
    file = text[1:] if text.startswith("@") else None
    data = _content(name, file, read) if file is not None else text.encode("utf-8", "surrogateescape")
    if key.endswith(":"):
        return name, schemas.of_json(name, data)
    own = schema.get("properties", {}).get(name, {})
    allowed = schemas.kinds(own, schema) if isinstance(own, dict) else []
    return name, schemas.of_text(name, text, allowed) if file is None else schemas.of_file(name, data, allowed, file)


def _content(name: str, file: str, read: Callable[[str], bytes]) -> bytes:
    try:
        return read(file)
    except OSError as error:
        text = f"a text that begins with @ is {name}:='\"@{file}\"'"
        raise InvalidArguments(f"argument `{name}`: the file {file!r} can't be read: {error.strerror} ({text})") from None


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"{where} is no JSON object: {error}") from None
