"""Values on their way out, made of what JSON or msgpack has: the converted value, its attachments, and what could not be carried. Pure.

It converts and never encodes: `snakepit._values.payloads` does.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, get_args, get_type_hints

import msgspec

from snakepit._ipc.frames import Attachment
from snakepit._values.buffers import NDARRAY, OCTETS, from_array, from_buffer

ATTACHMENT = "$attachment"
FLOAT = "$float"
INLINE_ARRAY = "$ndarray"
INLINE_INTEGER = "$integer"
UNSERIALIZABLE = "$unserializable"

MAX_WARNINGS = 8
"""Of one value; the last then says how many more there are."""

PLAIN = frozenset({str, int, float, bool, type(None)})
STRINGS = frozenset({str})
KEY_REMEDY = "keys are text, or numbers that no other key has as text"
_BYTES = (bytes, bytearray, memoryview)
_BASES = (str, int, float, bytes, bytearray)
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_msgpack = msgspec.msgpack.Encoder()
_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}


def marker(value: Any) -> dict[str, str]:
    """What stands for a value that can't travel: its type's name, never its repr."""
    kind = type(value)
    return {UNSERIALIZABLE: f"{kind.__module__}.{kind.__qualname__}"}


class Serializer:
    """One value on its way into JSON; collects its attachments, and the remedies for what could not be carried, by type."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []
        self.marked = 0
        self.remedies: dict[str, str] = {}

    def plain(self, value: Any) -> Any:
        """`value` with everything replaced that the encoding doesn't have."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is list or kind is tuple:
            return value if PLAIN.issuperset(map(type, value)) else [self.plain(each) for each in value]
        if kind is dict:
            return value if is_flat(value) else self._object(value)
        if kind in _BYTES or kind is Attachment:
            return self.attach(value if kind is Attachment else from_buffer(value))
        return self._other(value)

    def attach(self, attachment: Attachment) -> Any:
        """What stands for the attachment in the value."""
        self.attachments.append(attachment)
        return {ATTACHMENT: len(self.attachments) - 1}

    def _object(self, value: dict[Any, Any]) -> dict[str, Any]:
        if STRINGS.issuperset(map(type, value)):
            return {key: self.plain(each) for key, each in value.items()}
        made: dict[str, Any] = {}
        for key, each in value.items():
            name = str(key) if isinstance(key, str) else self._key(key)
            made[name if name not in made else self._unlike(key, made)] = self.plain(each)
        return made

    def _key(self, key: Any) -> str:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(key, numpy.generic):
            key = key.item()
        try:
            (name,) = msgspec.to_builtins({key: None}, str_keys=True)
        except Exception:  # not swallowed: the marker says what it was
            return self._key_marker(key)
        return str(name)

    def _key_marker(self, key: Any) -> str:
        return f"{UNSERIALIZABLE}:{self._marker(key, KEY_REMEDY)[UNSERIALIZABLE]}"

    def _unlike(self, key: Any, made: dict[str, Any]) -> str:
        """Two keys that are one as text, or that text doesn't have, stay two."""
        name, number = self._key_marker(key), 1
        while (numbered := f"{name}#{number}") in made:
            number += 1
        return numbered

    def _other(self, value: Any) -> Any:
        kind: Any = type(value)
        if _has_files(kind):
            return self._by_fields(value)
        start, marked = len(self.attachments), self.marked
        try:
            converted = msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=self._hook)
            return self.plain(converted)
        except Exception:  # not swallowed: the marker says what it was
            del self.attachments[start:]
            self.marked = marked
            return self._by_fields(value)

    def _by_fields(self, value: Any) -> Any:
        """Of what holds something that msgspec refuses, such as a dict with a tuple for a key, the rest is carried."""
        names = [(attribute, name) for attribute, name in _names_of_fields(type(value)) if hasattr(value, attribute)]
        if not names:
            return self._marker(value)
        return _tag(type(value)) | {name: self.plain(getattr(value, attribute)) for attribute, name in names}

    def _hook(self, value: Any) -> Any:
        from snakepit._values import foreign

        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return foreign.scalar(value)
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(numpy, value)
        dump = getattr(type(value), "model_dump", None)
        if callable(dump):
            return _dumped(dump, value)
        base: Any = next((kind for kind in _BASES if isinstance(value, kind)), None)
        if base is not None:
            return base(value)
        try:
            made = foreign.converted(value)
        except foreign.NotCarried as error:
            return self._marker(value, str(error))
        return self.attach(made) if type(made) is Attachment else made

    def _array(self, numpy: Any, array: Any) -> Any:
        if array.dtype.hasobject or array.dtype.names is not None or isinstance(array, numpy.ma.MaskedArray):
            return array.tolist()
        return self.attach(from_array(array))

    def _marker(self, value: Any, remedy: str = "") -> dict[str, str]:
        self.marked += 1
        made = marker(value)
        self.remedies.setdefault(made[UNSERIALIZABLE], remedy)
        return made


def _dumped(dump: Any, model: Any) -> Any:
    """By alias, as the schema says. What has no JSON of pydantic's own, such as bytes or a table, is ours to write."""
    try:
        return dump(model, mode="json", by_alias=True)
    except Exception:  # not swallowed: what this doesn't carry either gets a marker
        return dump(model, by_alias=True)


def _names_of_fields(kind: type) -> list[tuple[str, str]]:
    """Attributes of a dataclass, a Struct or an attrs class, with their names in JSON."""
    if issubclass(kind, msgspec.Struct):
        return list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    found = getattr(kind, "__dataclass_fields__", None) or {each.name: each for each in getattr(kind, "__attrs_attrs__", ())}
    return [(name, name) for name in found]


def _tag(kind: type) -> dict[str, Any]:
    """By which a union of Structs tells them apart."""
    config = kind.__struct_config__ if issubclass(kind, msgspec.Struct) else None
    return {config.tag_field: config.tag} if config and config.tag_field else {}


@lru_cache(maxsize=1024)
def _has_files(kind: type) -> bool:
    """Do its fields, or theirs, have room for an Attachment? msgspec would make an array of it, as it is a Struct."""
    return bool(_names_of_fields(kind)) and _has_room(kind, set())


def _has_room(annotation: Any, seen: set[Any]) -> bool:
    if annotation is Attachment:
        return True
    inner = list(get_args(annotation))
    if isinstance(annotation, type) and annotation not in seen and _names_of_fields(annotation):
        seen.add(annotation)
        try:
            inner += get_type_hints(annotation).values()
        except Exception:  # not swallowed: an annotation that only a type checker can read may mean anything
            return True
    return any(_has_room(each, seen) for each in inner)


class InlineSerializer(Serializer):
    """One value on its way into msgpack, which has bytes of its own."""

    def attach(self, attachment: Attachment) -> Any:
        if attachment.content_type == OCTETS:
            return attachment.data
        if attachment.content_type != NDARRAY:
            return {ATTACHMENT: [attachment.content_type, attachment.dtype, list(attachment.shape), attachment.data]}
        return {INLINE_ARRAY: [attachment.dtype, list(attachment.shape), attachment.data]}


def is_flat(value: dict[Any, Any]) -> bool:
    """Can it be encoded as it is?"""
    return PLAIN.issuperset(map(type, value.values())) and STRINGS.issuperset(map(type, value))


def kinds_of(value: Any) -> Collection[type[Any]]:
    """Of what a flat value is made of, itself if it is no dict."""
    return set(map(type, value.values())) if type(value) is dict else (type(value),)


def may_be_non_finite(value: Any) -> bool:
    """Is a NaN or an infinity in a converted value? Says yes now and then where there is none, and never the reverse.

    A walk in Python would cost more than the encoding itself; in msgpack such a number shows as three bytes.
    """
    try:
        return _NON_FINITE.search(_msgpack.encode(value)) is not None
    except OverflowError:  # an integer that msgpack doesn't have
        return True


def finite(value: Any) -> Any:
    """NaN and the infinities, which JSON doesn't have, as `{"$float": …}`."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {FLOAT: _NAMES.get(value, "NaN")}
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return [finite(each) for each in value] if isinstance(value, list | tuple) else value


def fitting(value: Any) -> Any:
    """Integers that msgpack doesn't have, as text."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return {INLINE_INTEGER: str(value)}
    if isinstance(value, list | tuple):
        return [fitting(each) for each in value]
    return {key: fitting(each) for key, each in value.items()} if isinstance(value, dict) else value


def complaints(value: Any, remedies: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each marker in a converted value, at most MAX_WARNINGS, with its remedy."""
    also = {kind: f"; {remedy}" for kind, remedy in remedies.items() if remedy}
    found = [
        f"{'the value' if path == '$' else path} is a {kind}, which can't be carried: a marker stands in its place{also.get(kind, '')}"
        for path, kind in _markers(value, "$")
    ]
    if len(found) > MAX_WARNINGS:
        more = len(found) - MAX_WARNINGS + 1
        return (*found[: MAX_WARNINGS - 1], f"{more} more values can't be carried: markers stand in their places")
    return tuple(found)


def _markers(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _markers(each, f"{path}[{index}]")
    elif isinstance(value, dict):
        if value.keys() == {UNSERIALIZABLE}:
            yield path, value[UNSERIALIZABLE]
            return
        for key, each in value.items():
            if str(key).startswith(f"{UNSERIALIZABLE}:"):
                yield f"a key of {path}", key.partition(":")[2].partition("#")[0]
            yield from _markers(each, f"{path}.{key}")
