"""Values on their way out, made of what JSON or msgpack has: the converted value, its attachments, and what could not be carried. Pure.

It converts and never encodes: `snakepit.payload` does.
"""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from snakepit.buffers import NDARRAY, from_array, from_buffer
from snakepit.local.frames import Attachment

ATTACHMENT = "$attachment"
FLOAT = "$float"
INLINE_ARRAY = "$ndarray"
INLINE_INTEGER = "$integer"
UNSERIALIZABLE = "$unserializable"

MAX_WARNINGS = 8
"""Of one value; the last then says how many more there are."""

PLAIN = frozenset({str, int, float, bool, type(None)})
STRINGS = frozenset({str})
_BYTES = (bytes, bytearray, memoryview)
_BASES = (str, int, float, bytes, bytearray)
_NON_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_msgpack = msgspec.msgpack.Encoder()
_NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}


def marker(value: Any) -> dict[str, str]:
    """What stands for a value that can't travel: its type's name, never its repr."""
    kind = type(value)
    return {UNSERIALIZABLE: f"{kind.__module__}.{kind.__qualname__}"}


class Writer:
    """One value on its way into JSON; collects its attachments."""

    def __init__(self) -> None:
        self.attachments: list[Attachment] = []
        self.marked = 0

    def plain(self, value: Any) -> Any:
        """`value` with everything replaced that the encoding doesn't have."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind is list or kind is tuple:
            return value if PLAIN.issuperset(map(type, value)) else [self.plain(each) for each in value]
        if kind is dict:
            return value if is_flat(value) else {self._key(key): self.plain(each) for key, each in value.items()}
        if kind in _BYTES or kind is Attachment:
            return self.attach(value if kind is Attachment else from_buffer(value))
        return self._other(value)

    def attach(self, attachment: Attachment) -> Any:
        """What stands for the attachment in the value."""
        self.attachments.append(attachment)
        return {ATTACHMENT: len(self.attachments) - 1}

    def _key(self, key: Any) -> Any:
        if isinstance(key, str):
            return str(key)
        try:
            (name,) = msgspec.to_builtins({key: None}, str_keys=True)
        except Exception:  # not swallowed: the marker says what it was
            return f"{UNSERIALIZABLE}:{self._marker(key)[UNSERIALIZABLE]}"
        return name

    def _other(self, value: Any) -> Any:
        start = len(self.attachments)
        try:
            converted = msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=self._hook)
            return self.plain(converted)
        except Exception:  # not swallowed: the marker says what it was
            del self.attachments[start:]
            return self._marker(value)

    def _hook(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return value.item()
        if numpy is not None and isinstance(value, numpy.ndarray):
            return self._array(numpy, value)
        dump = getattr(type(value), "model_dump", None)
        return dump(value, mode="json") if callable(dump) else self._as_base(value)

    def _as_base(self, value: Any) -> Any:
        """Subclasses and kin of builtin types as those; else what has a buffer; else the marker."""
        base: Any = next((kind for kind in _BASES if isinstance(value, kind)), None)
        if base is not None:
            return base(value)
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, deque):
            return list(value)
        pathlib = sys.modules.get("pathlib")
        if pathlib is not None and isinstance(value, pathlib.PurePath):
            return str(value)
        try:
            return self.attach(from_buffer(value))
        except TypeError:
            return self._marker(value)

    def _array(self, numpy: Any, array: Any) -> Any:
        if array.dtype.hasobject or array.dtype.names is not None or isinstance(array, numpy.ma.MaskedArray):
            return array.tolist()
        return self.attach(from_array(array))

    def _marker(self, value: Any) -> dict[str, str]:
        self.marked += 1
        return marker(value)


class InlineWriter(Writer):
    """One value on its way into msgpack, which has bytes of its own."""

    def attach(self, attachment: Attachment) -> Any:
        if attachment.content_type != NDARRAY:
            return attachment.data
        return {INLINE_ARRAY: [attachment.dtype, list(attachment.shape), attachment.data]}


def is_flat(value: dict[Any, Any]) -> bool:
    """Can it be encoded as it is?"""
    return PLAIN.issuperset(map(type, value.values())) and STRINGS.issuperset(map(type, value))


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


def complaints(value: Any) -> tuple[str, ...]:
    """A sentence for each marker in a converted value, at most MAX_WARNINGS."""
    found = [f"{path} is a {kind}, which can't be carried: a marker stands in its place" for path, kind in _markers(value, "$")]
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
                yield f"a key of {path}", key.partition(":")[2]
            yield from _markers(each, f"{path}.{key}")
