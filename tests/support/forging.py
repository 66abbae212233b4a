"""An adapter whose tool writes frames of its own into its worker's outbox. `LIES` has what it says, of a call by its id."""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from snakepit import AsyncContext, Context, SnakepitError, tool
from snakepit._ipc.frames import Attachment, Payload, ToolFailure
from snakepit._ipc.sockets import encode_batch
from snakepit._ipc.worker import Begin, ChunkFrame, Done, FromWorker, ProgressFrame, StateOperation, ToolCall

FORGED = Payload(b'"forged"')
LIES: dict[str, Callable[[int], FromWorker]] = {
    "a result": lambda id: Done(id, FORGED),
    "an error": lambda id: Done(id, tool_error=ToolFailure("Forged", "forged")),
    "a large result": lambda id: Done(id, FORGED, sections=(8,)),
    "a chunk": lambda id: ChunkFrame(id, 0, FORGED),
    "a beginning": lambda id: Begin(id, 0.0, 1),
    "progress": lambda id: ProgressFrame(id, 0.5, "forged"),
    "a state operation": lambda id: StateOperation(7, id, "set", "key", FORGED),
    "a tool call": lambda id: ToolCall(7, id, "forged", Payload(b"{}")),
}

ODD: dict[str, Callable[[int], list[FromWorker]]] = {
    "a shape out of this world": lambda id: [Done(id, Payload(b"{}", attachments=(Attachment("a/b", b"", "<f8", (1 << 63,)),)))],
    "sections below": lambda id: [Done(id, FORGED, sections=(-8,))],
    "sections of another payload": lambda id: [Done(id, FORGED, sections=(8, 8, 8))],
    "sections that were not handed over": lambda id: [Done(id, FORGED, sections=(8,))],
    "attachments without end": lambda id: [Done(id, Payload(b"{}", attachments=(Attachment("", b""),) * 200_000))],
    "an error without end": lambda id: [Done(id, tool_error=ToolFailure("t" * 6_000_000, "m" * 6_000_000, "t" * 6_000_000))],
    "progress without end": lambda id: [ProgressFrame(id, 0.5, "m" * 6_000_000), Done(id, FORGED)],
    "a state key without end": lambda id: [StateOperation(7, id, "get", "k" * 6_000_000), Done(id, FORGED)],
    "a state value without end": lambda id: [StateOperation(7, id, "set", "k", Payload(b"1" * 6_000_000)), Done(id, FORGED)],
    "a tool's name without end": lambda id: [ToolCall(7, id, "n" * 6_000_000, Payload(b"{}")), Done(id, FORGED)],
    "one operation twice": lambda id: [ToolCall(7, id, "n", Payload(b"{}")), ToolCall(7, id, "n", Payload(b"{}"))],
    "a time that is none": lambda id: [Done(id, FORGED, run_seconds=float("nan"))],
}


def say(*frames: FromWorker) -> None:
    """In the worker's place."""
    for each in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(each.name))) as sock:
                if sock.type == socket.SOCK_STREAM:
                    sock.sendall(encode_batch(frames))
        except OSError:  # no socket
            continue


GARBAGE: dict[str, tuple[int, bytes]] = {
    "no length that can be": (socket.SOCK_STREAM, b"\xff" * 8),
    "a message that no agent would hold": (socket.SOCK_STREAM, (17 << 20).to_bytes(4, "big") + bytes(1 << 16)),
    "no frame": (socket.SOCK_STREAM, b"\0\0\0\1\xc1"),
    "no text": (socket.SOCK_STREAM, b"\0\0\0\7\x91\x92\xa4\xff\xfe\xff\xfe"),
    "nesting without end": (socket.SOCK_STREAM, (100_000).to_bytes(4, "big") + b"\x91" * 100_000),
    "no call's number": (socket.SOCK_SEQPACKET, b"\xff"),
    "a number and no memory": (socket.SOCK_SEQPACKET, bytes(8)),
    "more than a packet": (socket.SOCK_SEQPACKET, bytes(150_000)),
}
"""By its kind of socket: that of an outbox, or of the inbox, whose way back is for memory."""


def throw(kind: int, data: bytes) -> None:
    """Into each socket of that kind, as whoever has taken over a worker could."""
    for each in Path("/proc/self/fd").iterdir():
        try:
            with socket.socket(fileno=os.dup(int(each.name))) as sock:
                if sock.family == socket.AF_UNIX and sock.type == kind:
                    sock.send(data)
        except OSError:  # no socket
            continue


@tool
def garbage(name: str, id: int) -> None:
    """Says that, and that a result of this very call lies there: the agent looks for it. Then stays."""
    throw(*GARBAGE[name])
    say(Done(id, FORGED, sections=(8,)))
    time.sleep(60)


@tool
def too_much(what: str, size: int, *, ctx: Context) -> str:
    """Not by a lie: by asking for it."""
    try:
        if what == "state":
            ctx.state.set("key", "x" * size)
        elif what == "a call":
            ctx.call_tool("wait", {"path": "x" * size})
        else:
            ctx.progress(0.5, "x" * size)
    except SnakepitError as error:
        return error.reason
    return "taken"


@tool
async def much_at_once(size: int, times: int, *, ctx: AsyncContext) -> list[str]:
    """Each is too much for the store, and all of them for one message."""
    said = await asyncio.gather(*[ctx.state.set(f"key {n}", "x" * size) for n in range(times)], return_exceptions=True)
    return [each.reason if isinstance(each, SnakepitError) else "taken" for each in said]


@tool
def wait(path: str) -> str:
    """Until that file exists."""
    while not Path(path).exists():
        time.sleep(0.01)
    return "own"


@tool
def forge(lie: str, ids: int) -> None:
    """Say it of every call that there may have been; then stay."""
    say(*[LIES[lie](id) for id in range(1, ids)])
    time.sleep(60)


@tool
def odd(lie: str, id: int) -> None:
    """Say it of this very call; then stay."""
    say(*ODD[lie](id))
    time.sleep(60)
