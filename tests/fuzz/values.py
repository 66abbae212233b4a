"""Targets: values, as callers, tools and clients send them, in each of their forms."""

from __future__ import annotations

import warnings

import msgspec
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from fuzz.target import target
from snakepit._ipc.frames import Payload
from snakepit._values import payloads
from snakepit.client import codec
from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import common_pb2
from snakepit_control_plane.servers import json_form

_payload = msgspec.msgpack.Decoder(Payload)


@target(InvalidArguments)
def payload_json(data: bytes) -> None:
    """What was read can be written, and read again."""
    payloads.decode(payloads.encode(payloads.decode(Payload(data))))


@target(InvalidArguments)
def payload_msgpack(data: bytes) -> None:
    payloads.decode(payloads.encode(payloads.decode(Payload(data, payloads.MSGPACK)), payloads.MSGPACK))


@target(InvalidArguments)
def payload_with_attachments(data: bytes) -> None:
    """A payload with everything beside it: content types, dtypes, shapes."""
    try:
        found = _payload.decode(data)
    except ValueError:
        return
    payloads.decode(found)


@target(DecodeError, SnakepitError)
def result(data: bytes) -> None:
    """At the caller: what a tool gave."""
    with warnings.catch_warnings(action="ignore"):
        codec.decode(common_pb2.Payload.FromString(data))


@target(DecodeError, InvalidArguments)
def struct_in(data: bytes) -> None:
    """Arguments of plain gRPC."""
    json_form.from_struct(struct_pb2.Struct.FromString(data), same_bytes=True)


@target(DecodeError, InvalidArguments)
def state_in(data: bytes) -> None:
    """A value of a session's state."""
    json_form.from_value(common_pb2.Value.FromString(data))


@target(DecodeError, SnakepitError)
def struct_out(data: bytes) -> None:
    """What a tool gave, or a state has, for a caller who wants it as a Struct."""
    json_form.to_value(common_pb2.Payload.FromString(data)).SerializeToString()
