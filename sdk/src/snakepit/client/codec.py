"""Values as the payloads of frames and RPCs, and results as values or exceptions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from snakepit import payload
from snakepit.errors import InvalidArguments, SnakepitError, ToolError
from snakepit.link.status import from_frame
from snakepit.local import frames
from snakepit.v1 import common_pb2, link_pb2

_NOTHING = common_pb2.Payload(content_type="application/json", data=b"{}")


def encode_arguments(arguments: Mapping[str, Any] | None) -> common_pb2.Payload:
    """Raises InvalidArguments for what is no mapping of names to values."""
    if not arguments:
        return _NOTHING
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(f"arguments must be a mapping of the tool's argument names to values, not {type(arguments).__name__}")
    return encode(arguments)


def encode(value: Any) -> common_pb2.Payload:
    return _wire(payload.encode(value))


def encode_state(value: Any) -> common_pb2.Payload:
    """As state is kept: without attachments."""
    return _wire(payload.encode_inline(value))


def _wire(encoded: frames.Payload) -> common_pb2.Payload:
    wire = common_pb2.Payload(content_type=encoded.content_type, data=encoded.data)
    for each in encoded.attachments:
        wire.attachments.add(content_type=each.content_type, data=each.data, dtype=each.dtype, shape=each.shape)
    return wire


def decode(wire: common_pb2.Payload) -> Any:
    """The value; an empty payload is None."""
    if not wire.data and not wire.attachments:
        return None
    attachments = tuple(frames.Attachment(a.content_type, a.data, a.dtype, tuple(a.shape)) for a in wire.attachments)
    return payload.decode(frames.Payload(wire.data, wire.content_type, attachments))


def tool_error(error: common_pb2.ToolError) -> ToolError:
    return ToolError(error.type, error.message, error.traceback)


def outcome(result: link_pb2.Result) -> Any:
    """The tool's value. Raises ToolError, or the table's exception for a call that failed."""
    kind = result.WhichOneof("outcome")
    if kind == "payload":
        return decode(result.payload)
    raise failure(result, kind)


def failure(result: link_pb2.Result, kind: str | None) -> SnakepitError:
    if kind == "tool_error":
        return tool_error(result.tool_error)
    if kind == "error":
        return from_frame(result.error)
    return SnakepitError("the answer has neither a result nor an error: the control plane is of another version")
