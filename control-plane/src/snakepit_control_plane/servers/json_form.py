"""The `json` form of plain gRPC: protobuf's Struct and Value to payloads and back. Pure. The only place that looks into a payload."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
from google.protobuf import struct_pb2

from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.payload import ATTACHMENT, JSON, MSGPACK
from snakepit.v1 import common_pb2

_EXACT = 2**53

_encoder = msgspec.json.Encoder()


def from_struct(arguments: struct_pb2.Struct) -> common_pb2.Payload:
    return common_pb2.Payload(content_type=JSON, data=_encoder.encode({key: _plain(value) for key, value in arguments.fields.items()}))


def from_value(value: common_pb2.Value) -> common_pb2.Payload:
    """A state value in either form. Raises InvalidArguments for none."""
    kind = value.WhichOneof("kind")
    if kind is None:
        raise InvalidArguments("value is missing: set value.json or value.payload")
    if kind == "payload":
        if value.payload.attachments:
            raise InvalidArguments("value.payload must have no attachments: put everything into its data")
        return value.payload
    return common_pb2.Payload(content_type=JSON, data=_encoder.encode(_plain(value.json)))


def to_value(payload: common_pb2.Payload) -> struct_pb2.Value:
    """Raises SnakepitError when the payload is no JSON or msgpack. Integers beyond 2**53 lose digits, as in all of JSON's Value.

    An attachment appears in its place as `{"$base64": …}`, an array with its `dtype` and `shape`.
    """
    plain = decode(payload)
    return _value(_inline(plain, payload.attachments) if payload.attachments else plain)


def _inline(plain: Any, attachments: Sequence[common_pb2.Attachment]) -> Any:
    if isinstance(plain, list):
        return [_inline(each, attachments) for each in plain]
    if not isinstance(plain, dict):
        return plain
    number = plain.get(ATTACHMENT)
    if len(plain) == 1 and isinstance(number, int) and 0 <= number < len(attachments):
        return _as_text(attachments[number])
    return {key: _inline(each, attachments) for key, each in plain.items()}


def _as_text(attachment: common_pb2.Attachment) -> dict[str, Any]:
    text: dict[str, Any] = {"$base64": base64.b64encode(attachment.data).decode()}
    if attachment.dtype:
        text |= {"dtype": attachment.dtype, "shape": list(attachment.shape)}
    return text


def decode(payload: common_pb2.Payload) -> Any:
    try:
        if payload.content_type == MSGPACK:
            return msgspec.msgpack.decode(payload.data)
        return msgspec.json.decode(payload.data) if payload.data else None
    except msgspec.DecodeError as error:
        raise SnakepitError(f"the value is no {payload.content_type or JSON}: {error}") from error


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "struct_value":
        return {key: _plain(each) for key, each in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_plain(each) for each in value.list_value.values]
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None


def _value(plain: Any) -> struct_pb2.Value:
    match plain:
        case None:
            return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
        case bool():
            return struct_pb2.Value(bool_value=plain)
        case int() | float():
            return struct_pb2.Value(number_value=plain)
        case str():
            return struct_pb2.Value(string_value=plain)
        case bytes():
            return _value({"$base64": base64.b64encode(plain).decode()})
        case dict():
            fields = {str(key): _value(each) for key, each in plain.items()}
            return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
        case list() | tuple():
            return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[_value(each) for each in plain]))
    raise SnakepitError(f"a {type(plain).__name__} has no JSON form: ask for the payload form")
