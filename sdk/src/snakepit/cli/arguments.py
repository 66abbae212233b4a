"""What a person types as a tool's arguments, as values: by the tool's schema, where it is known.

A text parameter takes `42` as it stands, a number parameter refuses `abc` before anything is called. What the schema doesn't say is
left to the tool.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from snakepit.errors import InvalidArguments

# ---- one argument, as its schema has it


Schema = Mapping[str, Any]

BYTES = "bytes"
_WORDS = {
    "string": "a text",
    BYTES: "bytes",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a JSON list",
    "object": "a JSON object",
    "null": "null",
}
_DEEPEST = 16
_NONE = object()


def kinds(schema: Schema, of: Schema) -> list[str]:
    """JSON's types, and `bytes`, that one argument's schema allows; `of` is the schema of all. The list is empty where it doesn't say."""
    return list(dict.fromkeys(_kinds(schema, of.get("$defs", {}), 0)))


def of_text(name: str, text: str, allowed: list[str]) -> Any:
    """Read the value of `name=text`. Raises InvalidArguments, which names the argument."""
    if BYTES in allowed:
        return text.encode()
    if "string" in allowed and not set(allowed) - {"string", "null"}:
        return text
    if (value := _as_json(text, allowed)) is not _NONE:
        return value
    if not allowed or "string" in allowed:
        return text
    raise InvalidArguments(f"argument `{name}` is {_listed(allowed)}, and {_shown(text)} is none: {_remedy(name, allowed)}")


def of_file(name: str, data: bytes, allowed: list[str], file: str) -> Any:
    """Read the value of `name=@file`. Raises InvalidArguments, which names the argument."""
    if BYTES in allowed:
        return data
    try:
        text = data.decode()
    except UnicodeDecodeError:
        if not allowed:
            return data
        raise InvalidArguments(f"argument `{name}` is {_listed(allowed)}, and {file} is not UTF-8 text") from None
    if not allowed or "string" in allowed:
        return text
    if (value := _as_json(text, allowed)) is not _NONE:
        return value
    raise InvalidArguments(f"argument `{name}` is {_listed(allowed)}, and what {file} holds is none")


def of_json(name: str, data: bytes) -> Any:
    """Read the value of `name:=JSON`. Raises InvalidArguments, which names the argument."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shown = _shown(data.decode(errors="replace"))
        raise InvalidArguments(f"argument `{name}`: {shown} is not JSON: {error}; write {name}=… for a text") from None


def _kinds(schema: Schema, definitions: Schema, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if reference := str(schema.get("$ref", "")):
        yield from _kinds(definitions.get(reference.rpartition("/")[2], {}), definitions, depth + 1)
    for each in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from _kinds(each, definitions, depth + 1) if isinstance(each, Mapping) else ()
    for value in [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]:
        yield _kind(value)
    stated = schema.get("type", ())
    for word in [stated] if isinstance(stated, str) else stated:
        yield BYTES if word == "string" and schema.get("contentEncoding") == "base64" else word


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}
    return names[type(value)]


def _as_json(text: str, allowed: list[str]) -> Any:
    """Return the value where the text is JSON of a kind that is allowed, else _NONE."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NONE
    return value if not allowed or _kind(value) in allowed or (type(value) is int and "number" in allowed) else _NONE


def _listed(allowed: list[str]) -> str:
    return " or ".join(_WORDS.get(each, each) for each in allowed)


def _remedy(name: str, allowed: list[str]) -> str:
    if "array" in allowed:
        return f"write {name}='[1, 2]', or {name}=@FILE with such a file"
    if "object" in allowed:
        return f"write {name}='{{\"key\": 1}}', or {name}=@FILE with such a file"
    example = {"integer": "3", "number": "1.5", "boolean": "true", "null": "null"}[allowed[0]]
    return f"write {name}={example}"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


# ---- all of them


FORMS = "write key=value, key=@FILE or key:=JSON words, one JSON object, or - for a JSON object on standard input"


def wants_schema(words: list[str]) -> bool:
    """Whether the meaning of these words depends on what the tool takes."""
    return any("=" in word and not word.partition("=")[0].endswith(":") for word in words) and not _is_object(words)


def read_file(file: str) -> bytes:
    """Read a whole file; `-` stands for standard input. Raises OSError."""
    return sys.stdin.buffer.read() if file == "-" else Path(file).expanduser().read_bytes()


def parse_arguments(words: list[str], schema: Schema | None = None, read: Callable[[str], bytes] = read_file) -> dict[str, Any]:
    """Read all words as arguments, by the tool's schema where it is known. Raises InvalidArguments."""
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


def _pair(word: str, schema: Schema, read: Callable[[str], bytes]) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    name = key.removesuffix(":")
    if not equals or not name:
        raise InvalidArguments(f"argument {word!r} is not key=value: {FORMS}")
    file = text[1:] if text.startswith("@") else None
    data = _content(name, file, read) if file is not None else text.encode("utf-8", "surrogateescape")
    if key.endswith(":"):
        return name, of_json(name, data)
    own = schema.get("properties", {}).get(name, {})
    allowed = kinds(own, schema) if isinstance(own, dict) else []
    return name, of_text(name, text, allowed) if file is None else of_file(name, data, allowed, file)


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
