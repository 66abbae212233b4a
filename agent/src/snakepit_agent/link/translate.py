"""Between the link's protobuf frames and the local frames: the same values in two spellings. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from snakepit._ipc.frames import Attachment, CallFailure, Payload, ToolFailure, ToolInfo
from snakepit._ipc.sections import counted
from snakepit._ipc.worker import CallFrame
from snakepit._values.strings import clipped
from snakepit.errors import Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.model.call import HeldCall


@dataclass(frozen=True)
class LargePayload:
    """A skeleton, its sections, and the memfd that holds them: whoever has this closes it."""

    payload: Payload
    sections: tuple[int, ...]
    descriptor: int


Outcome = Payload | LargePayload | ToolFailure | CallFailure | None


def payload_from_wire(payload: common_pb2.Payload) -> Payload:
    content_type = payload.content_type or "application/json"
    if not (attached := payload.attachments):
        return Payload(payload.data, content_type)
    attachments = tuple([Attachment(a.content_type, a.data, a.dtype, tuple(a.shape)) for a in attached])
    return Payload(payload.data, content_type, attachments)


def payload_to_wire(payload: Payload) -> common_pb2.Payload:
    wire = common_pb2.Payload()
    fill_payload(wire, payload)
    return wire


def fill_payload(wire: common_pb2.Payload, payload: Payload) -> None:
    """Into a message that is part of another: a copy less."""
    wire.content_type, wire.data = payload.content_type, payload.data
    for a in payload.attachments:
        wire.attachments.add(content_type=a.content_type, data=a.data, dtype=a.dtype, shape=a.shape)
    if payload.warnings:
        wire.warnings.extend(payload.warnings)


MOST_NAME = 1024
MOST_TEXT = 32 * 1024
"""Bytes of each text of a failure that are passed on; a worker's own bounds are its process's to break."""


def offer_bytes(tools: list[ToolInfo], description: str) -> int:
    """About as many as a frame with all of them has."""
    return len(description) + sum(64 + len(t.name) + len(t.description) + len(t.input_schema) + len(t.output_schema) for t in tools)


def attachments(payload: Payload | LargePayload) -> int:
    return len(payload.payload.attachments if isinstance(payload, LargePayload) else payload.attachments)


def payload_bytes(payload: Payload | LargePayload) -> int:
    """What the limit on payloads counts."""
    if isinstance(payload, LargePayload):
        return counted(payload.sections)
    size = len(payload.data)
    return size + sum(len(a.data) for a in payload.attachments) if payload.attachments else size


def inbox_frame(held: HeldCall, call: link_pb2.Call) -> CallFrame:
    """The packet for a worker's inbox. What `held` knows already is not read off the message again."""
    return CallFrame(
        held.id,
        held.call_id,
        held.tool,
        payload_from_wire(call.arguments),
        held.due if held.due != math.inf else 0.0,
        held.stream,
        held.session_id,
        held.session_epoch,
        dict(metadata) if (metadata := call.metadata) else {},
        held.traceparent,
        session_uid=held.session_uid,
        sections=tuple(call.pieces.sections) if held.large else (),
        identity=call.identity,
    )


def failure(reason: str, message: str, started: Started, details: Mapping[str, str] | None = None) -> CallFailure:
    return CallFailure(reason, message, int(started), dict(details or {}))


def failure_to_wire(error: CallFailure) -> common_pb2.Error:
    reason, message = clipped(error.reason, MOST_NAME), clipped(error.message, MOST_TEXT)
    details = {key: value for key, value in error.details.items() if len(key) + len(value) <= MOST_NAME}
    return common_pb2.Error(reason=reason, message=message, started=error.started, details=details)  # type: ignore[arg-type]


def failure_from_wire(error: common_pb2.Error) -> CallFailure:
    return CallFailure(error.reason, error.message, error.started, dict(error.details))


def tool_failure_from_wire(error: common_pb2.ToolError) -> ToolFailure:
    return ToolFailure(error.type, error.message, error.traceback)


def _tool_error(error: ToolFailure) -> common_pb2.ToolError:
    texts = clipped(error.type, MOST_NAME), clipped(error.message, MOST_TEXT + MOST_NAME), clipped(error.traceback, MOST_TEXT)
    return common_pb2.ToolError(type=texts[0], message=texts[1], traceback=texts[2])


def chunk_to_wire(index: int, outcome: Outcome, *, last: bool) -> link_pb2.Chunk:
    """A piece of a stream, or its end."""
    chunk = link_pb2.Chunk(index=index, last=last)
    if isinstance(outcome, Payload):
        fill_payload(chunk.payload, outcome)
    elif isinstance(outcome, LargePayload):
        fill_payload(chunk.payload, outcome.payload)
        chunk.pieces.sections.extend(outcome.sections)
    elif isinstance(outcome, ToolFailure):
        chunk.tool_error.CopyFrom(_tool_error(outcome))
    elif outcome is not None:
        chunk.error.CopyFrom(failure_to_wire(outcome))
    return chunk


def result_to_wire(remote: int, call_id: str, worker: str, incarnation: str, outcome: Outcome, run_seconds: float) -> link_pb2.Frame:
    """The Result frame of a call that its replica knows by `remote`."""
    frame = link_pb2.Frame()
    result = frame.result
    result.id, result.call_id, result.worker, result.incarnation, result.run_seconds = remote, call_id, worker, incarnation, run_seconds
    if isinstance(outcome, Payload):
        fill_payload(result.payload, outcome)
    elif isinstance(outcome, LargePayload):
        fill_payload(result.payload, outcome.payload)
        result.pieces.sections.extend(outcome.sections)
    elif isinstance(outcome, ToolFailure):
        result.tool_error.CopyFrom(_tool_error(outcome))
    elif outcome is not None:
        result.error.CopyFrom(failure_to_wire(outcome))
    return frame


def reject_to_wire(remote: int, reason: str) -> link_pb2.Frame:
    return link_pb2.Frame(reject=link_pb2.Reject(id=remote, reason=reason))
