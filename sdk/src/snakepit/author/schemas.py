"""JSON Schemas (2020-12) of a tool's arguments and results. Pure."""

from __future__ import annotations

import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec

from snakepit._ipc.frames import Attachment
from snakepit._values import coercion as kinds
from snakepit._values import pydantic_types
from snakepit._values.serializer import Serializer

_REF = "#/$defs/"
OF_A_FILE = {"title": "Attachment", "description": "A file.", "type": "string", "contentEncoding": "base64"}
"""Where it is a part of a result. A result that is a file itself is described as bytes."""
Mode = typing.Literal["validation", "serialization"]


def of_arguments(arguments: type[Any], defaults: Mapping[str, Any]) -> str:
    """`arguments`: a Struct with a field for each. Raises TypeError for a type that no caller can give."""
    (schema,), definitions = _components(arguments, "validation")
    root: dict[str, Any] = definitions.pop(schema["$ref"].removeprefix(_REF))
    root.pop("title", None)
    properties = root.setdefault("properties", {})
    for name, default in defaults.items():
        serializer = Serializer()
        plain = serializer.plain(default)
        if not serializer.marked and not serializer.attachments:
            properties[name]["default"] = plain
    return _text(root, definitions)


def of_result(annotation: Any) -> str:
    """Raises TypeError for what can't be described."""
    (schema,), definitions = _components(annotation, "serialization")
    struct = _as_struct()
    return _text(schema, {name: OF_A_FILE if each == struct else each for name, each in definitions.items()})


@functools.cache
def _as_struct() -> Any:
    """An Attachment as msgspec describes it, which is not what a caller gets of one."""
    _, definitions = msgspec.json.schema_components([Attachment], ref_template=_REF + "{name}")
    return definitions[Attachment.__name__]


def _text(root: dict[str, Any], definitions: dict[str, Any]) -> str:
    import json

    return json.dumps(root | ({"$defs": definitions} if definitions else {}))


def _components(kind: Any, mode: Mode) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """msgspec's schemas, and the definitions of pydantic's beside its own: a `$ref` speaks of the root."""
    own = _Definitions(set(), mode)
    schemas, definitions = _described(kind, own.described, mode)
    if own.definitions.keys() & definitions.keys():
        own = _Definitions(set(definitions), mode)
        schemas, definitions = _described(kind, own.described, mode)
    return schemas, definitions | own.definitions


def _described(kind: Any, of_pydantic: Callable[[Any], Any], mode: Mode) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    def hook(each: Any) -> dict[str, Any]:
        if each is object:
            return {"description": "any value"}  # an empty schema would count as none
        if callable(getattr(each, "model_json_schema", None)) or pydantic_types.adapter_of(each) is not None:
            return dict(of_pydantic(each))
        if mode == "validation" and kinds.maker(each) is None:
            raise Unreachable(each)
        return kinds.schema_of(each)

    return msgspec.json.schema_components([kind], schema_hook=hook, ref_template=_REF + "{name}")


class Unreachable(TypeError):
    """No caller can give a value of this type."""

    def __init__(self, kind: Any) -> None:
        name = getattr(kind, "__qualname__", str(kind))
        module = getattr(kind, "__module__", "")
        where = f"{module}." if module not in ("builtins", "typing") else ""
        super().__init__(
            f"is a {where}{name}, which no payload can carry: take text, numbers, lists, a dataclass or a model and make it of them, "
            "or annotate it `object` where callers pickle it"
        )


class _Definitions:
    """Those of pydantic's schemas, each under a name of its own."""

    def __init__(self, taken: set[str], mode: Mode) -> None:
        self.definitions: dict[str, Any] = {}
        self._taken = taken
        self._mode = mode

    def described(self, kind: Any) -> dict[str, Any]:
        schema = pydantic_types.schema_of(kind, self._mode)
        own = schema.pop("$defs", {})
        names = {name: self._name(name, each) for name, each in own.items()}
        for name, each in own.items():
            self.definitions[names[name]] = _renamed(each, names)
        return typing.cast(dict[str, Any], _renamed(schema, names))

    def _name(self, name: str, schema: Any) -> str:
        """Two models of one name are two definitions, and one that is met twice is one."""
        chosen, number = name, 1
        while chosen in self._taken or self.definitions.get(chosen, schema) != schema:
            number += 1
            chosen = f"{name}{number}"
        return chosen


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(each, names) for key, each in schema.items()}
    if isinstance(ref := schema.get("$ref"), str) and ref.startswith(_REF):
        renamed["$ref"] = _REF + names.get(name := ref.removeprefix(_REF), name)
    return renamed


_MOMENT = Annotated[datetime, msgspec.Meta(extra_json_schema={"format": "date-time"})]


_SAID: tuple[tuple[Any, Any], ...] = ((datetime, _MOMENT),)
OF_RESULTS = (*_SAID, (Attachment, bytes))


def with_formats(annotation: Any, said: tuple[tuple[Any, Any], ...] = _SAID) -> Any:
    """The annotation, with what msgspec leaves out of its schema: a datetime that may have a time zone or none has a format too."""
    for kind, stands in said:
        if annotation is kind:
            return stands
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, [with_formats(each, said) for each in parts])
    if origin in (list, set, frozenset, tuple, dict):
        return origin[tuple(each if each is ... else with_formats(each, said) for each in parts)]
    return annotation


def choices(schema: Any, path: typing.Sequence[str | int]) -> list[Any]:
    """The values of an enumeration at a path of an argument object; empty where there is none."""
    found = [schema]
    for step in path:
        found = [inner for each in found for inner in _below(_alternatives(schema, each), step)]
    return [choice for each in found for one in _alternatives(schema, each) for choice in one.get("enum", ())]


def _alternatives(root: Any, schema: Any, depth: int = 0) -> list[Any]:
    if not isinstance(schema, dict) or depth > 8:
        return []
    if isinstance(ref := schema.get("$ref"), str):
        return _alternatives(root, root.get("$defs", {}).get(ref.removeprefix(_REF)), depth + 1)
    inner = [each for one in schema.get("anyOf", ()) for each in _alternatives(root, one, depth + 1)]
    return [schema, *inner]


def _below(schemas: list[Any], step: str | int) -> list[Any]:
    below: list[Any] = []
    for schema in schemas:
        if isinstance(step, str):
            below += [schema.get("properties", {}).get(step, schema.get("additionalProperties"))]
        else:
            first = schema.get("prefixItems", [])
            below += [first[step] if step < len(first) else schema.get("items")]
    return [each for each in below if isinstance(each, dict)]
