"""What an agent's bulk lane brings for one caller, chunks and pieces, handed over one message at a time.

A stream holds at most one message. It ends once: with the last chunk, an error, or a caller that has gone or takes nothing. What the tool
says of its progress comes over the agent's link, and is handed over as soon as the caller takes something: a little before or after the
chunks beside it. All of it comes before the end: the last chunk waits for the call's Result, which is behind it on the link.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from snakepit._ipc.sections import total
from snakepit._wire.bulk import Piece
from snakepit._wire.status import from_frame, to_frame
from snakepit.errors import Cancelled, DeadlineExceeded, SnakepitError, Started, WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.model.call import Call

PIPE_SECONDS = 1.0
"""After a stream's Result has come with an error: so long its chunks may still be on their way. And the other way round. After the last
chunk of a call that asked for progress: so long its Result may be on its way."""

UNOPENED_SECONDS = 10.0
"""After the Result of a large payload has come: so long its bulk lane may take to open."""

PROGRESS_KEPT = 16
"""Of a call whose caller doesn't read: older ones are dropped."""

Item = link_pb2.Chunk | Piece
"""A chunk; or a piece of the chunk before it, which is still at the agent: whoever takes it reads it, and tells `moved`."""


class Stream:
    """`on_end` is called when the stream's own end has been taken by the caller; `on_close` once, however it ends."""

    def __init__(self, on_end: Callable[[link_pb2.Frame], None] = lambda frame: None, idle_seconds: float = 60.0) -> None:
        self.opened = False
        # Nothing more is handed over; the caller has had the end, which says how it ended; the caller has gone.
        self.ended = False
        self.finished = False
        self.gone = False
        self.idle_seconds = idle_seconds
        # The call was sent again though it may have run: whoever ends it now knows nothing of that.
        self.reran = False
        self.on_close: Callable[[], None] = lambda: None
        self._on_end = on_end
        self._on_stall: Callable[[SnakepitError], None] = lambda error: None
        self._items: deque[Item] = deque()
        self._progress: deque[link_pb2.Progress] = deque(maxlen=PROGRESS_KEPT)
        # More of it may come before the call's Result.
        self._hears_progress = False
        self._index = 0
        # Bytes of the pieces of the chunk that came last, as far as they have not gone to the caller; whether it is the last of all.
        self.left = 0
        self.last_came = False
        # The last chunk of all, when it has been taken; the Piece that the caller's side reads; when something was taken last.
        self._last: link_pb2.Chunk | None = None
        self._piece: Piece | None = None
        self._moved_at = 0.0
        self._taking: asyncio.TimerHandle | None = None
        self._ready = asyncio.Event()
        self._taken = asyncio.Event()
        self._error: common_pb2.Error | None = None

    def watch(self, calls: OpenCalls, call: Call) -> None:
        """The pool's idle time holds, and ends the call. It may have been refused already."""
        if call.pool is not None:
            self.idle_seconds = call.pool.spec.call.stream_idle_seconds
        self._hears_progress = call.message.progress and not self.last_came
        self._on_stall = lambda error: calls.cancel(call, error)

    # ---- the agent's side

    async def put(self, items: list[Item]) -> bool:
        """Hand over one message; returns when the caller has taken it, False when it has gone, or took nothing for the idle time."""
        if self.ended:
            return False
        for item in items:
            if isinstance(item, link_pb2.Chunk):
                self.left = total(item.pieces.sections) if item.HasField("pieces") else 0
                self.last_came = item.last
                if self.reran and item.WhichOneof("outcome") == "error" and item.error.started == common_pb2.STARTED_NO:
                    item.error.started = common_pb2.STARTED_MAYBE
        if self.last_came and self._hears_progress:
            asyncio.get_running_loop().call_later(min(PIPE_SECONDS, self.idle_seconds / 2), self.heard_all)
        self._items.extend(items)
        self._ready.set()
        loop = asyncio.get_running_loop()
        self._moved_at = loop.time()
        while (self._items or (self._piece is not None and self._piece.left)) and not self.ended:
            self._taken.clear()
            try:
                async with asyncio.timeout_at(self._moved_at + self.idle_seconds):
                    await self._taken.wait()
            except TimeoutError:
                if loop.time() < self._moved_at + self.idle_seconds:
                    continue
                if self._piece is not None and self._piece.is_awaited:
                    self._moved_at = loop.time()  # It is not the caller who is slow.
                    continue
                self._stall()
                return False
        return not self.ended or not self._items

    @property
    def _is_complete(self) -> bool:
        return self.last_came and self.left <= 0

    def broken(self) -> None:
        """The pipe has ended. Too early: the Result says why, if it comes soon."""
        if self._error is not None:
            self._finish_lost()
        elif not self._is_complete:
            asyncio.get_running_loop().call_later(PIPE_SECONDS, self._finish_lost)

    def heard_all(self) -> None:
        """The call's Result has come, or is waited for no longer: the last chunk may go."""
        self._hears_progress = False
        self._ready.set()

    def fail(self, error: common_pb2.Error) -> None:
        """The agent's Result says how the call ended. Chunks that are on their way come first."""
        self._error = error
        if not self.opened:
            patience = 0.0 if error.started == int(Started.NO) else PIPE_SECONDS
            asyncio.get_running_loop().call_later(patience, self._finish_unopened)

    def await_pipe(self) -> None:
        """A Result has said that there is something to come."""
        asyncio.get_running_loop().call_later(UNOPENED_SECONDS, self._finish_unopened)

    # ---- the call's end

    def reply(self, call: Call, frame: link_pb2.Frame) -> None:
        """The call was answered, with an error or by the stream's own end; or its tool says how far it is."""
        if frame.HasField("progress"):
            self._progress.append(frame.progress)
            self._ready.set()
        elif frame.result.WhichOneof("outcome") == "error":
            self._finish(frame.result.error)

    # ---- the caller's side

    async def take(self) -> Item | link_pb2.Progress:
        """The next chunk or piece, in order; the one before it counts as taken. Progress comes first, of calls that asked for it.

        Raises Cancelled when it was given up meanwhile.
        """
        self._piece = None
        self._taken.set()
        while not self._progress and not self._has_next:
            if self.gone:
                raise Cancelled("the call was cancelled", started=Started.YES)
            self._ready.clear()
            await self._ready.wait()
        if self._progress:
            return self._progress.popleft()
        self._moved_at = asyncio.get_running_loop().time()
        item = self._items.popleft()
        if isinstance(item, Piece):
            self._piece = item
            return item
        self._count(item)
        return item

    def take_more(self, chunk: link_pb2.Chunk) -> list[link_pb2.Chunk]:
        """The chunk that was taken, and those that are there besides, up to one whose pieces follow."""
        more = [chunk]
        while self._has_next and not more[-1].HasField("pieces") and isinstance(self._items[0], link_pb2.Chunk):
            more.append(self._items.popleft())  # type: ignore[arg-type]  # mypy doesn't see through the deque
            self._count(more[-1])
        return more

    @property
    def _has_next(self) -> bool:
        if not self._items or not self._hears_progress:
            return bool(self._items)
        return not (isinstance(first := self._items[0], link_pb2.Chunk) and first.last)

    def abandon(self) -> None:
        """The caller takes nothing more: it has gone, or has had all."""
        self.gone = not self.ended
        self._close()
        self._ready.set()

    def _count(self, item: link_pb2.Chunk) -> None:
        item.index = self._index
        self._index += 1
        self._last = item if item.last else None
        self._finish_if_last()

    def moved(self, size: int) -> None:
        """So much of the Piece that was taken last has gone to the caller."""
        self._moved_at = asyncio.get_running_loop().time()
        self.left -= size
        if self._piece is not None and not self._piece.left:
            self._taken.set()
        self._finish_if_last()

    def _finish_if_last(self) -> None:
        if self._last is not None and self.left <= 0 and not self.finished:
            self.finished = True
            self._close()
            self._on_end(_end(self._last))

    def _close(self) -> None:
        self._taken.set()
        if self._taking is not None:
            self._taking.cancel()
        if not self.ended:
            self.ended = True
            self.on_close()

    def _stall(self) -> None:
        message = f"the caller took nothing of the stream for {self.idle_seconds:g} s (call.streamIdleSeconds)"
        error = DeadlineExceeded(message, started=Started.YES, details={"limit": "call.streamIdleSeconds"})
        self._items.clear()
        self.last_came = False
        self._finish(to_frame(error))
        self.gone = True
        self._close()
        self._on_stall(error)

    def _finish_unopened(self) -> None:
        if not self.opened:
            self._finish_lost()

    def _finish_lost(self) -> None:
        lost = to_frame(WorkerLost("the stream broke off before its last chunk", details={"how": "stream broken"}))
        self._finish(self._error or lost)

    def _finish(self, error: common_pb2.Error) -> None:
        if self.ended or self._is_complete:
            return
        self.last_came, self.left = True, 0
        self._items.append(link_pb2.Chunk(error=error, last=True))
        self.heard_all()
        self._await_taker()

    def _await_taker(self) -> None:
        """No agent waits any more for the caller to take what there is: it is not kept for ever for one that never comes."""
        self._taking = asyncio.get_running_loop().call_later(self.idle_seconds, self._forsake, self._moved_at)

    def _forsake(self, moved_at: float) -> None:
        if self._moved_at == moved_at:
            self._close()
        else:
            self._await_taker()


def _end(chunk: link_pb2.Chunk) -> link_pb2.Frame:
    """The Result that a stream's last chunk stands for."""
    result = link_pb2.Result()
    if chunk.WhichOneof("outcome") == "error":
        result.error.CopyFrom(chunk.error)
    elif chunk.WhichOneof("outcome") == "tool_error":
        result.tool_error.CopyFrom(chunk.tool_error)
    return link_pb2.Frame(result=result)


def error_of(chunk: link_pb2.Chunk) -> SnakepitError | None:
    """What the call has failed with, if that is what this chunk says."""
    return from_frame(chunk.error) if chunk.WhichOneof("outcome") == "error" else None
