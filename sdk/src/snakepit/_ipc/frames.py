"""Values as they travel between our processes, and the answers that a running tool gets: all that an author's tools load of IPC.

What else agent and worker say to each other is in `worker`, and what agent and keeper say in `control`.
"""

from __future__ import annotations

import msgspec


class Frame(msgspec.Struct, array_like=True, tag_field="kind", tag=True):
    """Compact on the wire: an array whose first item is the tag."""


class Attachment(msgspec.Struct, array_like=True, frozen=True):
    """`data` is bytes where it was received; what is sent may be any contiguous view of bytes."""

    content_type: str
    data: bytes
    dtype: str = ""
    shape: tuple[int, ...] = ()


class Payload(msgspec.Struct, array_like=True, frozen=True):
    """An encoded value: `snakepit.v1.Payload` without protobuf. `warnings`: a sentence for each part that could not be carried."""

    data: bytes
    content_type: str = "application/json"
    attachments: tuple[Attachment, ...] = ()
    warnings: tuple[str, ...] = ()


class ToolFailure(msgspec.Struct, array_like=True, frozen=True):
    """An exception of the author's code."""

    type: str
    message: str
    traceback: str = ""


class CallFailure(msgspec.Struct, array_like=True, frozen=True):
    """A failure out of the table in snakepit.errors."""

    reason: str
    message: str
    started: int = 0
    details: dict[str, str] = {}


class ToolInfo(msgspec.Struct, frozen=True):
    """A tool as the catalogue shows it; schemas are JSON text."""

    name: str
    description: str
    input_schema: str
    output_schema: str = ""
    streaming: bool = False
    idempotent: bool = False
    timeout_seconds: float = 0.0
    title: str = ""
    read_only: bool = False
    destructive: bool | None = None


class StateAnswer(Frame, tag="state-answer"):
    """The outcome of a `StateOperation`: `failure`, or what it asked for."""

    operation_id: int
    failure: CallFailure | None = None
    found: bool = False
    value: Payload | None = None
    version: int = 0
    written: bool = False
    keys: list[str] = []


class ToolChunk(Frame, tag="tool-chunk"):
    """A piece of the stream that a `ToolCall` asked for."""

    operation_id: int
    payload: Payload


class ToolAnswer(Frame, tag="tool-answer"):
    """The end of a `ToolCall`: one of `payload`, `tool_error`, `failure`; of a stream: none of them after its last chunk, or the error."""

    operation_id: int
    payload: Payload | None = None
    tool_error: ToolFailure | None = None
    failure: CallFailure | None = None
