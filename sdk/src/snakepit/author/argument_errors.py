"""Why arguments were refused: msgspec's sentence as one that names the argument, the place in it, and what would do. Pure.

Everything here happens after a refusal, so it may take its time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from snakepit._names import nearest
from snakepit.author import schemas
from snakepit.errors import InvalidArguments

MAX_CHOICES = 20
_ATTEMPTS = 16
"""Places of a signature with datetimes that are looked at once more."""

_WHERE = re.compile(r"^(?P<what>.*) - at (?P<key>`key` in )?`\$\.(?P<name>[^.\[]+)(?P<rest>.*)`$", re.DOTALL)
_FIELD = re.compile(r"^Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_NO_DATETIME = "Invalid RFC3339 encoded datetime"

Convert = Callable[[Any], Any]
Step = str | int | None
"""A field, an index, or some key of an object that msgspec doesn't name."""


def second_look(error: msgspec.ValidationError, values: Any, convert: Convert, names: Iterable[str], schema: str) -> Any:
    """What `convert` makes of the values when datetimes that Python reads (`2024-01-01`) are written as msgspec wants them.

    Raises InvalidArguments where that is not what was wrong.
    """
    for _ in range(_ATTEMPTS):
        found = _WHERE.match(str(error))
        if found is None or found["what"] != _NO_DATETIME:
            break
        mended = _mended(values, _steps(found))
        if mended == values:
            break
        values = mended
        try:
            return convert(values)
        except msgspec.ValidationError as another:
            error = another
    raise InvalidArguments(explain(str(error), names, values, convert, schema)) from error


def explain(message: str, names: Iterable[str], values: Any, convert: Convert, schema: str) -> str:
    """msgspec's refusal as one sentence: the argument, the place in it, what was expected, and the choices where there are some."""
    known = tuple(names)
    if found := _WHERE.match(message):
        path = _named(found, values, convert)
        rest = "".join(map(_shown, path[1:]))
        where = f" - at `{rest}`" if rest else ""
        return f"argument `{path[0]}`: {found['what']}{where}{_choices(json.loads(schema), path)}"
    if found := _FIELD.match(message):
        return _explain_name(found["how"], found["name"], known)
    return f"the arguments must be an object of names and values: {message}"


def _explain_name(how: str, name: str, known: tuple[str, ...]) -> str:
    if how == "missing required":
        return f"argument `{name}` is missing"
    meant = nearest(name, known)
    hint = f"did you mean `{meant[0]}`?" if meant else f"it takes {', '.join(f'`{n}`' for n in known) or 'none'}"
    return f"argument `{name}` is unknown to this tool; {hint}"


def _choices(schema: Any, path: list[Step]) -> str:
    found = schemas.choices(schema, ["" if step is None else step for step in path])
    if not found:
        return ""
    more = f" and {len(found) - MAX_CHOICES} more" if len(found) > MAX_CHOICES else ""
    return f"; it takes {', '.join(map(repr, found[:MAX_CHOICES]))}{more}"


# ---- places


def _steps(found: re.Match[str]) -> list[Step]:
    path: list[Step] = [found["name"]]
    for name, index in _STEP.findall(found["rest"]):
        path.append(name or (None if index == "..." else int(index)))
    return [*path, None] if found["key"] else path


def _shown(step: Step) -> str:
    return "[...]" if step is None else f"[{step}]" if isinstance(step, int) else f".{step}" if step.isidentifier() else f"[{step!r}]"


def _named(found: re.Match[str], values: Any, convert: Convert) -> list[Step]:
    """The path with the keys that msgspec leaves out: the one is meant without which the refusal would be another."""
    path = _steps(found)
    for position, step in enumerate(path):
        if step is not None:
            continue
        at = _at(values, path[:position])
        if not isinstance(at, dict):
            break
        entries = list(at.items())
        while len(entries) > 1:
            half = entries[: len(entries) // 2]
            refused = _refusal(_with(values, path[:position], dict(half)), convert) == found.string
            entries = half if refused else entries[len(half) :]
        path[position] = str(entries[0][0])
        values = _with(values, path[:position], dict(entries))
    return path


def _refusal(values: Any, convert: Convert) -> str:
    try:
        convert(values)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _at(values: Any, path: Iterable[Step]) -> Any:
    for step in path:
        try:
            values = values[step]
        except (LookupError, TypeError):
            return None
    return values


def _with(values: Any, path: list[Step], new: Any) -> Any:
    """A copy with something else at a path that exists."""
    if not path:
        return new
    copy: Any = dict(values) if isinstance(values, Mapping) else list(values)
    copy[path[0]] = _with(copy[path[0]], path[1:], new)
    return copy


def _mended(values: Any, path: list[Step]) -> Any:
    """All elements of a list have one type, and all values of an object whose key isn't named: what holds for one holds for them."""
    if not path:
        return _as_datetime(values)
    step, rest = path[0], path[1:]
    if isinstance(values, list):
        return [_mended(each, rest) for each in values]
    if not isinstance(values, dict):
        return values
    if step is None:
        return {key: _mended(each, rest) for key, each in values.items()}
    return {**values, step: _mended(values[step], rest)} if step in values else values


def _as_datetime(value: Any) -> Any:
    try:
        return datetime.fromisoformat(value).isoformat() if isinstance(value, str) else value
    except ValueError:
        return value
