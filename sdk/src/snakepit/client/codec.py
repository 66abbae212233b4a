"""Values as the payloads of frames and RPCs, and results as values or exceptions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from snakepit._ipc import frames
from snakepit._ipc.sections import LARGE_BYTES, skeleton
from snakepit._values import payloads
from snakepit._values.payload_warnings import warn
from snakepit._wire.status import from_frame
from snakepit.errors import InvalidArguments, SnakepitError, Started, ToolError
from snakepit.v1 import common_pb2, link_pb2


def content_type(encoding: str) -> str:
    """Of one of the words of a pool's call.payloads. Raises InvalidArguments for another."""
    if encoding not in payloads.CONTENT_TYPES:
        raise InvalidArguments(f"payload {encoding!r} is unknown: use {', '.join(payloads.CONTENT_TYPES)}")
    return payloads.CONTENT_TYPES[encoding]


def fill_arguments(wire: common_pb2.Payload, arguments: Mapping[str, Any] | None, kind: str = payloads.JSON) -> frames.Payload | None:
    """Into an empty message; large ones are returned, and the message has but their skeleton.

    Warns of what can't be carried. Raises InvalidArguments for what is no mapping of names to values, or none that can be sent.
    """
    if not arguments and kind == payloads.JSON:
        wire.content_type, wire.data = payloads.JSON, b"{}"
        return None
    encoded = payloads.encode_arguments(arguments or {}, kind)
    if encoded.warnings:
        warn(encoded.warnings)
    return fill_encoded(wire, encoded)


def fill_encoded(wire: common_pb2.Payload, encoded: frames.Payload) -> frames.Payload | None:
    """Into an empty message; a large one is returned, and the message has but its skeleton."""
    if not encoded.attachments and len(encoded.data) <= LARGE_BYTES:
        wire.content_type, wire.data = encoded.content_type, encoded.data
        return None
    if payloads.size(encoded) <= LARGE_BYTES:
        _fill(wire, encoded)
        return None
    _fill(wire, skeleton(encoded))
    return encoded


def encode_answer(value: Any) -> common_pb2.Payload:
    """Of an offered function: what can't be carried is for the asker to know, so the warnings travel."""
    encoded = payloads.encode(value)
    answer = plain_wire(encoded)
    answer.warnings.extend(encoded.warnings)
    return answer


def encode_state(value: Any) -> common_pb2.Payload:
    """As state is kept: without attachments. What can't be carried is warned of, at the caller's line."""
    encoded = payloads.encode_inline(value)
    warn(encoded.warnings)
    return plain_wire(encoded)


def plain_wire(encoded: frames.Payload) -> common_pb2.Payload:
    """An encoded value as a message, and no warnings."""
    wire = common_pb2.Payload()
    _fill(wire, encoded)
    return wire


def _fill(wire: common_pb2.Payload, encoded: frames.Payload) -> None:
    wire.content_type, wire.data = encoded.content_type, encoded.data
    for each in encoded.attachments:
        wire.attachments.add(content_type=each.content_type, data=bytes(each.data), dtype=each.dtype, shape=each.shape)


def plain(wire: common_pb2.Payload) -> frames.Payload:
    """The same payload without protobuf."""
    attachments = tuple([frames.Attachment(a.content_type, a.data, a.dtype, tuple(a.shape)) for a in wire.attachments])
    return frames.Payload(wire.data, wire.content_type, attachments, tuple(wire.warnings))


def decode(payload: common_pb2.Payload | frames.Payload, *, trusted: bool = False, attached: bool = False) -> Any:
    """The value of a result; an empty payload is None. Warns of what could not be carried. `trusted`: the caller asked for pickle;
    `attached`: attachments stay what they are.

    Of a payload that came in pieces, arrays are read-only views of what was received. Raises SnakepitError for bytes that are not
    what they say.
    """
    if payload.warnings:
        warn(payload.warnings)
    data, beside = payload.data, payload.attachments
    if not beside and not data:
        return None
    if not isinstance(payload, frames.Payload):
        payload = plain(payload) if beside else frames.Payload(data, payload.content_type)
    try:
        return payloads.decode(payload, trusted=trusted, attached=attached)
    except InvalidArguments as error:  # of the other side's making: the tool has run
        raise SnakepitError(error.message, started=Started.YES) from error


Reading = Callable[[common_pb2.Payload | frames.Payload], Any]
"""How a caller reads results: `decode`, with what it asked for."""


def as_it_is(payload: common_pb2.Payload | frames.Payload) -> frames.Payload:
    """Not decoded at all."""
    return payload if isinstance(payload, frames.Payload) else plain(payload)


class Large(NamedTuple):
    """A result that came in pieces, and which worker it is of."""

    payload: frames.Payload
    worker: str


def outcome(result: link_pb2.Result | Large, read: Reading = decode) -> Any:
    """The tool's value, as `read` gives it. Raises ToolError, or the table's exception for a call that failed."""
    if isinstance(result, Large):
        return read(result.payload)
    kind = result.WhichOneof("outcome")
    if kind == "payload":
        return read(result.payload)
    raise failure(result, kind)


def failure(result: Any, kind: str | None) -> SnakepitError:
    """The exception for a Result, or a chunk, that is no value; `kind` names the outcome's field."""
    if kind == "tool_error":
        return ToolError(result.tool_error.type, result.tool_error.message, result.tool_error.traceback)
    if kind == "error":
        return from_frame(result.error)
    return SnakepitError("the answer has neither a result nor an error: the control plane is of another version")
