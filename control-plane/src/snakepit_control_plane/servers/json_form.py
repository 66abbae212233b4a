"""The `json` form of plain gRPC: protobuf's Struct and Value to payloads and back. Pure. The only place that looks into a payload.

What a Struct doesn't have is an object with one of our keys, in both directions: `{"$base64": …}` is bytes, with `dtype` and `shape` an
array, and with `contentType` a table or a file; `{"$integer": "…"}` an integer that a double can't hold; `{"$float": "NaN"}` what JSON
can't write. docs/payloads.md has the table.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from google.protobuf import struct_pb2

from snakepit._ipc.frames import Attachment, Payload
from snakepit._values import payloads
from snakepit._values.payloads import ATTACHMENT, FLOAT, INLINE_INTEGER, JSON, MSGPACK, NDARRAY, OCTETS
from snakepit._values.strings import ECHOED, quoted
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import common_pb2

BASE64 = "$base64"

MAX_DEPTH = 30
"""protobuf's parsers give up at 100 nested messages, and an object in an object takes three."""

MOST_VALUES = 250_000
"""In one payload: nulls, numbers, texts, lists and objects. Each is an object in memory, where the JSON text has a byte or two."""

_EXACT = 2**53
_TOO_MANY = f"{MOST_VALUES} values is the most that the JSON form has: use the payload form"
_TOO_DEEP = f"a result that is nested deeper than {MAX_DEPTH} has no JSON form: ask for the payload form"
_ALIKE = frozenset({BASE64, "contentType", "dtype", "shape"})


def from_struct(arguments: struct_pb2.Struct, *, same_bytes: bool = False) -> common_pb2.Payload:
    """Raises InvalidArguments for an object with one of our keys that is not what it says, and for more than MOST_VALUES.

    `same_bytes`: equal arguments give equal bytes, whatever order protobuf has their names in.
    """
    if len(arguments.fields) > MOST_VALUES:
        raise InvalidArguments(f"the arguments have too many values, {_TOO_MANY}")
    reader = _Reader()
    plain = {key: reader.plain(value) for key, value in arguments.fields.items()}
    return _wire(payloads.encode(_in_order(plain) if same_bytes else plain))


def _in_order(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _in_order(plain[key]) for key in sorted(plain)}
    return [_in_order(each) for each in plain] if isinstance(plain, list) else plain


def from_value(value: common_pb2.Value) -> common_pb2.Payload:
    """A state value in either form. Raises InvalidArguments for none, and for more than MOST_VALUES."""
    kind = value.WhichOneof("kind")
    if kind is None:
        raise InvalidArguments("value is missing: set value.json or value.payload")
    if kind == "payload":
        if value.payload.attachments:
            raise InvalidArguments("value.payload must have no attachments: put everything into its data")
        return value.payload
    return _wire(payloads.encode_inline(_Reader().plain(value.json)))


def to_value(payload: common_pb2.Payload) -> struct_pb2.Value:
    """Raises SnakepitError when the payload is no JSON or msgpack, or is too deep or has too many values for a Value."""
    try:
        plain = decode(payload)
        if len(payload.data) > MOST_VALUES and _count(plain) > MOST_VALUES:
            raise SnakepitError(f"the result has too many values, {_TOO_MANY}")
        return _value(_placed(plain, payload.attachments) if payload.attachments else plain)
    except RecursionError as error:
        raise SnakepitError(_TOO_DEEP) from error


def decode(payload: common_pb2.Payload) -> Any:
    """The plain value of a payload. Raises SnakepitError for one that is neither JSON nor msgpack."""
    try:
        if payload.content_type == MSGPACK:
            return msgspec.msgpack.decode(payload.data)
        if payload.content_type not in payloads.PLAIN_JSON:
            raise SnakepitError(f"a result of {payload.content_type} has no JSON form: ask for the payload form")
        return msgspec.json.decode(payload.data) if payload.data else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnakepitError(f"the value is no {payload.content_type or JSON}: {error}") from error


# ---- in


def _wire(encoded: Payload) -> common_pb2.Payload:
    wire = common_pb2.Payload(content_type=encoded.content_type, data=encoded.data)
    for each in encoded.attachments:
        wire.attachments.add(content_type=each.content_type, data=each.data, dtype=each.dtype, shape=each.shape)
    return wire


class _Reader:
    """Reads one request's values, and counts them before it makes them."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def plain(self, value: struct_pb2.Value) -> Any:
        kind = value.WhichOneof("kind")
        if kind == "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= _EXACT else number
        if kind == "struct_value":
            fields = value.struct_value.fields
            self._take(len(fields))
            plain = {key: self.plain(each) for key, each in fields.items()}
            return _special(plain) if BASE64 in plain or INLINE_INTEGER in plain else plain
        if kind == "list_value":
            values = value.list_value.values
            self._take(len(values))
            return [self.plain(each) for each in values]
        return getattr(value, kind) if kind in ("string_value", "bool_value") else None

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise InvalidArguments(f"the arguments have too many values, {_TOO_MANY}")


def _special(plain: dict[str, Any]) -> Any:
    if plain.keys() == {INLINE_INTEGER}:
        return _parsed(int, plain, INLINE_INTEGER, "an integer as text")
    if not plain.keys() <= _ALIKE:
        return plain
    data = _parsed(lambda text: base64.b64decode(text, validate=True), plain, BASE64, "base64 text")
    if "contentType" not in plain and "dtype" not in plain:
        return data
    shape = _parsed(_shape, plain, "shape", "a list of whole numbers") if "dtype" in plain else ()
    return Attachment(str(plain.get("contentType", NDARRAY)), data, str(plain.get("dtype", "")), shape)


def _shape(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, list) or not all(type(each) is int and 0 <= each <= _EXACT for each in numbers):
        raise ValueError(f"{quoted(str(numbers)[:ECHOED])} has something else")
    return tuple(numbers)


def _parsed(parse: Callable[[Any], Any], plain: dict[str, Any], key: str, what: str) -> Any:
    try:
        return parse(plain.get(key))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArguments(f"{key} must be {what}: {error}") from error


# ---- out


def _count(plain: Any) -> int:
    """How many values it has, or more than MOST_VALUES. They are counted without recursion: it may be deep."""
    count, left = 1, [plain]
    while left and count <= MOST_VALUES:
        each = left.pop()
        if isinstance(each, list | dict):
            count += len(each)
            left.extend(each.values() if isinstance(each, dict) else each)
    return count


def _placed(plain: Any, attachments: Sequence[common_pb2.Attachment]) -> Any:
    """Each attachment where the value refers to it."""
    if isinstance(plain, list):
        return [_placed(each, attachments) for each in plain]
    if not isinstance(plain, dict):
        return plain
    number = plain.get(ATTACHMENT)
    if len(plain) == 1 and isinstance(number, int) and 0 <= number < len(attachments):
        attached = attachments[number]
        return _attached(attached.content_type, attached.dtype, list(attached.shape), attached.data)
    return {key: _placed(each, attachments) for key, each in plain.items()}


def _attached(content_type: str, dtype: str, shape: list[int], data: bytes) -> Any:
    if content_type in ("", OCTETS) and not dtype:
        return data
    kind = {"dtype": dtype, "shape": shape} if dtype else {}
    media = {} if content_type in ("", NDARRAY) else {"contentType": content_type}
    return {BASE64: base64.b64encode(data).decode(), **media, **kind}


def _inline(plain: dict[Any, Any]) -> Any:
    """What msgpack carries of an attachment; None: it is an ordinary object."""
    match plain:
        case {"$ndarray": [str(dtype), list(shape), bytes(data)]} if len(plain) == 1:
            return _attached(NDARRAY, dtype, shape, data)
        case {"$attachment": [str(content_type), str(dtype), list(shape), bytes(data)]} if len(plain) == 1:
            return _attached(content_type, dtype, shape, data)
    return None


def _value(plain: Any, depth: int = 0) -> struct_pb2.Value:
    if depth > MAX_DEPTH:
        raise SnakepitError(_TOO_DEEP)
    match plain:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=plain)
        case int() | float():
            return _number(plain)
        case str():
            return struct_pb2.Value(string_value=plain)
        case bytes():
            return _value({BASE64: base64.b64encode(plain).decode()})
        case dict() if (inline := _inline(plain)) is not None:
            return _value(inline)
        case dict():
            fields = {str(key): _value(each, depth + 1) for key, each in plain.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case list() | tuple():
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(each, depth + 1) for each in plain]))
    raise SnakepitError(f"a {type(plain).__name__} has no JSON form: ask for the payload form")


def _number(number: float) -> struct_pb2.Value:
    """A double where nothing gets lost. protobuf could carry NaN, but most JSON of it can't."""
    if isinstance(number, int):
        if abs(number) > _EXACT and not _is_double(number):
            return _value({INLINE_INTEGER: str(number)})
    elif not math.isfinite(number):
        return _value({FLOAT: "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"})
    return struct_pb2.Value(number_value=number)


def _is_double(number: int) -> bool:
    try:
        return int(float(number)) == number
    except OverflowError:
        return False
