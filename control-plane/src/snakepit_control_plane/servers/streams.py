"""A streaming call's chunks between the agent's pipe and the caller's stream: handed over one message at a time, so flow control is gRPC's.

It holds at most one message. It ends once: with the last chunk, an error, or a caller that has gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from snakepit.errors import SnakepitError, Started, WorkerLost
from snakepit.link.status import from_frame, to_frame
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.router.calls import Call

PIPE_SECONDS = 1.0
"""After a stream's Result has come with an error: so long its chunks may still be on their way."""


class Stream:
    """`on_end` is called when the stream's own end has been taken by the caller."""

    def __init__(self, on_end: Callable[[link_pb2.Frame], None]) -> None:
        self.opened = False
        self.ended = False
        self.gone = False
        self._on_end = on_end
        self._chunks: deque[link_pb2.Chunk] = deque()
        self._index = 0
        self._ready = asyncio.Event()
        self._taken = asyncio.Event()
        self._error: common_pb2.Error | None = None

    # ---- the agent's side

    async def put(self, chunks: list[link_pb2.Chunk]) -> bool:
        """Hand over one message's chunks; returns when the caller has taken them, False when it has gone."""
        if self.ended:
            return False
        self._chunks.extend(chunks)
        self._ready.set()
        while self._chunks and not self.ended:
            self._taken.clear()
            await self._taken.wait()
        return not self.ended or not self._chunks

    def broken(self) -> None:
        """The pipe has ended without a last chunk."""
        if not self.ended:
            lost = to_frame(WorkerLost("the stream broke off before its last chunk", details={"how": "stream broken"}))
            self._finish(self._error or lost)

    def fail(self, error: common_pb2.Error) -> None:
        """The agent's Result says how the call ended. Chunks that are on their way come first."""
        self._error = error
        if not self.opened:
            patience = 0.0 if error.started == int(Started.NO) else PIPE_SECONDS
            asyncio.get_running_loop().call_later(patience, self._finish_unopened)

    # ---- the router's side

    def reply(self, call: Call, frame: link_pb2.Frame) -> None:
        """The call was closed: by the router, with an error, or by the stream's own end."""
        if frame.result.WhichOneof("outcome") == "error":
            self._finish(frame.result.error)

    # ---- the caller's side

    async def take(self) -> link_pb2.Chunk:
        """The next chunk, in order; the last one is marked. The one before it counts as taken."""
        self._taken.set()
        while not self._chunks:
            self._ready.clear()
            await self._ready.wait()
        chunk = self._chunks.popleft()
        chunk.index = self._index
        self._index += 1
        if chunk.last:
            self.ended = True
            self._taken.set()
            self._on_end(_end(chunk))
        return chunk

    def abandon(self) -> None:
        """The caller takes nothing more: it has gone, or has had all."""
        self.gone = not self.ended
        self.ended = True
        self._taken.set()

    def _finish_unopened(self) -> None:
        if not self.opened and self._error is not None:
            self._finish(self._error)

    def _finish(self, error: common_pb2.Error) -> None:
        if self.ended or (self._chunks and self._chunks[-1].last):
            return
        self._chunks.append(link_pb2.Chunk(error=error, last=True))
        self._ready.set()


def _end(chunk: link_pb2.Chunk) -> link_pb2.Frame:
    """The Result that a stream's last chunk stands for."""
    result = link_pb2.Result()
    if chunk.WhichOneof("outcome") == "error":
        result.error.CopyFrom(chunk.error)
    elif chunk.WhichOneof("outcome") == "tool_error":
        result.tool_error.CopyFrom(chunk.tool_error)
    return link_pb2.Frame(result=result)


def error_of(chunk: link_pb2.Chunk) -> SnakepitError | None:
    return from_frame(chunk.error) if chunk.WhichOneof("outcome") == "error" else None
