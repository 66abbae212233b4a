"""The frames between agent and worker: of a worker's inbox and outbox.

* *Control socket*, agent <-> keeper: `SOCK_SEQPACKET`, one frame a packet, descriptors beside it. The agent listens. Its frames are in
  `control`.
* *Inbox*, agent -> worker: a `SOCK_SEQPACKET` pair that carries `CallFrame`s and nothing else, one a packet. The agent keeps a copy
  of the reading end: a packet that it can still read was never started. On its way back the worker hands over the memfds of large
  results, each before the frame in the outbox that speaks of it; and, before all of them, where its stacks will be (`STACKS`).
* *Outbox*, worker <-> agent: a `SOCK_STREAM` pair of length-prefixed messages, each a list of frames. Everything about a running call.

Times are CLOCK_MONOTONIC seconds: the containers of a pod share the machine's clock.
"""

from __future__ import annotations

import msgspec

from snakepit._ipc.frames import CallFailure, Frame, Payload, StateAnswer, ToolAnswer, ToolChunk, ToolFailure, ToolInfo

INLINE_BYTES = 64 * 1024
"""A larger call travels as a sealed memfd beside a packet whose `memfd` is set."""


# ---- inbox


class CallFrame(msgspec.Struct, array_like=True, frozen=True):
    """One call. `deadline` is monotonic, 0.0 means none. `memfd`: the packet's descriptor holds the encoded CallFrame itself.

    `sections`: the arguments are a skeleton, and the descriptor holds their bytes (see `snakepit._ipc.sections`). `identity`: see
    `snakepit._ipc.callers`.
    """

    id: int
    call_id: str
    tool: str
    arguments: Payload
    deadline: float = 0.0
    stream: bool = False
    session_id: str = ""
    session_epoch: int = 0
    metadata: dict[str, str] = {}
    traceparent: str = ""
    memfd: bool = False
    session_uid: str = ""
    sections: tuple[int, ...] = ()
    identity: bytes = b""


# ---- outbox: worker -> agent


class Ready(Frame, tag="ready"):
    """Imported, and `setup()` has returned: the worker is warm. `python`: its version, and whether it is free-threaded."""

    tools: list[ToolInfo]
    description: str
    setup_seconds: float
    thread_safe: bool = False
    python: str = ""


class Failed(Frame, tag="failed"):
    """The worker can't serve and exits. `stage`: import, adapter, setup."""

    stage: str
    type: str
    message: str
    traceback: str = ""


class Begin(Frame, tag="begin"):
    """The call was read off the inbox and its tool is about to run, at monotonic `at`, in `thread` as faulthandler names it.

    Left out for tools that are known to be quick.
    """

    id: int
    at: float
    thread: int = 0


class Done(Frame, tag="done"):
    """The end of a call: one of `payload`, `tool_error`, `failure`; of a stream: none of them after its last chunk, or the error.

    `sections`: the payload is a skeleton; its bytes are in a memfd that came before, on the way back of the inbox. `started_ns`: where the
    call is traced, when it began, in Unix ns: the agent makes its span, so the author's image needs no OpenTelemetry.
    """

    id: int
    payload: Payload | None = None
    tool_error: ToolFailure | None = None
    failure: CallFailure | None = None
    run_seconds: float = 0.0
    sections: tuple[int, ...] = ()
    started_ns: int = 0


class ChunkFrame(Frame, tag="chunk"):
    """A piece of a stream; `sections` as of `Done`."""

    id: int
    index: int
    payload: Payload
    sections: tuple[int, ...] = ()


class ProgressFrame(Frame, tag="progress"):
    """The tool says how far it is; `fraction` from 0 to 1."""

    id: int
    fraction: float
    message: str = ""


class Pong(Frame, tag="pong"):
    """The answer to `Ping`."""


class StateOperation(Frame, tag="state"):
    """`operation`: get, set, delete, keys. `expected_version` -1: unconditional. `traceparent`: the tool's own span, if it is traced."""

    operation_id: int
    id: int
    operation: str
    key: str = ""
    value: Payload | None = None
    expected_version: int = -1
    traceparent: str = ""


class ToolCall(Frame, tag="tool-call"):
    """The call `id` calls a tool: of its own pool, or of `pool`. `deadline` is monotonic, 0.0: the call's own."""

    operation_id: int
    id: int
    name: str
    arguments: Payload
    pool: str = ""
    deadline: float = 0.0
    stream: bool = False
    traceparent: str = ""


class ToolTaken(Frame, tag="tool-taken"):
    """The tool took chunks of a stream that it had asked for."""

    operation_id: int
    chunks: int


class ToolDropped(Frame, tag="tool-dropped"):
    """Nobody waits for the answer any more."""

    operation_id: int


# ---- outbox: agent -> worker


class CancelCall(Frame, tag="cancel"):
    """The call is to stop; `reason`: CANCELLED or DEADLINE."""

    id: int
    reason: str


class Credit(Frame, tag="credit"):
    """The consumer took chunks: this many more may be sent."""

    id: int
    chunks: int


class SetLimits(Frame, tag="limits"):
    """The largest result that the control plane takes, in bytes, and the name of that limit; and whether arguments may be pickled."""

    max_bytes: int
    name: str
    pickle: bool = False


class EndSession(Frame, tag="end-session"):
    """The session is over for this worker: that life of it, and that epoch unless it is 0."""

    session_id: str
    uid: str = ""
    epoch: int = 0


class Flush(Frame, tag="flush"):
    """Say what you hold: results of quick calls may wait for those behind them, and one of these turned out slow."""


class Ping(Frame, tag="ping"):
    """Are you there? Asked of a worker that runs no call and has said nothing lately."""


class Stop(Frame, tag="stop"):
    """No more calls will come: `on_drain`, `teardown`, exit 0."""


FromWorker = Ready | Failed | Begin | Done | ChunkFrame | ProgressFrame | Pong | StateOperation | ToolCall | ToolTaken | ToolDropped
ToWorker = CancelCall | StateAnswer | ToolChunk | ToolAnswer | Credit | SetLimits | EndSession | Flush | Ping | Stop

MOST_BYTES = 8 * 1024 * 1024
"""Of a state operation, or of a tool call with its arguments. A worker doesn't send more, and replicas take far less."""

MOST_PROGRESS = 8192
"""Characters of a tool's word on how far it is."""

STREAM_CREDIT = 16
"""Chunks that a worker may send ahead of the consumer before it waits for `Credit`."""

STREAM_BYTES = 512 * 1024
"""Bytes of them. A chunk counts as half of it at most: two of any size may be ahead."""

STACKS = 0
"""Handed over first of all, as if of a call of this id: the memfd that gets the worker's Python stacks when a signal kills it."""

HELD = (1 << 64) - 1
"""The same for the memory in which a worker keeps results that wait to leave together (see `snakepit._ipc.held`)."""

CHANNEL_EXIT = 113
"""The exit code of a worker that can't use its inbox or outbox any more."""
