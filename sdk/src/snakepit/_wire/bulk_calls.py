"""The dialling end of bulk lanes: those of one link, kept for the next call, and a call's stream on one, which looks like gRPC's.

Where no bulk lane can be had, `open_stream` opens the stream on HTTP/2: everything that is said on it is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._ipc.sections import Bytes, cut, piece_message
from snakepit._wire.bulk import CARRY, END, FAILED, LAST, MESSAGE, PIECE, PIPE, WRITTEN_PIECE_BYTES, Bulk, LaneBroken, Piece, opening
from snakepit._wire.lane import open_socket
from snakepit._wire.status import Metadata

METHODS = {PIPE: "/snakepit.v1.LinkService/Pipe", CARRY: "/snakepit.v1.LinkService/Carry"}
"""On HTTP/2 they are called with messages as bytes: a piece is passed on without a copy that protobuf would make."""

MOST_LANES = 64
"""Of one link; more streams at a time go over HTTP/2."""

MOST_IDLE = 8

IDLE_SECONDS = 10.0
"""A lane that no call has taken for so long is hung up: a replica has only so many, for all of its links together."""

WITHOUT_SECONDS = 5.0
"""After a bulk lane could not be opened, none is tried for so long."""

SETTLE_SECONDS = 5.0
"""For the other end's END, when all that it has to say has come."""


class BulkLanes:
    """Of one link, for as long as it is open."""

    def __init__(self, host: str, port: int, ticket: bytes) -> None:
        self._host, self._port, self._ticket = host, port, ticket
        # With the time since when; the one that was used last is taken first.
        self._idle: list[tuple[Bulk, float]] = []
        self._weeding: asyncio.TimerHandle | None = None
        self._open: set[Bulk] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._not_before = 0.0
        self._closed = False

    async def take(self) -> Bulk | None:
        """A lane with no call on it; None: there is none to be had."""
        while self._idle:
            if (lane := self._idle.pop()[0]).is_quiet:
                return lane
            self.hang_up(lane)
        now = asyncio.get_running_loop().time
        if self._closed or len(self._open) >= MOST_LANES or now() < self._not_before:
            return None
        sock = await open_socket(self._host, self._port, self._ticket)
        if sock is None:
            self._not_before = now() + WITHOUT_SECONDS
            return None
        lane = Bulk(sock)
        if self._closed:
            lane.abort()
            return None
        self._open.add(lane)
        return lane

    def give_back(self, lane: Bulk) -> None:
        """Both ends have ended its call."""
        lane.patience = None
        if len(self._idle) < MOST_IDLE and not self._closed:
            loop = asyncio.get_running_loop()
            self._idle.append((lane, loop.time()))
            if self._weeding is None:
                self._weeding = loop.call_later(IDLE_SECONDS, self._weed)
        else:
            self.hang_up(lane)

    def hang_up(self, lane: Bulk) -> None:
        lane.abort()
        self._open.discard(lane)

    def _weed(self) -> None:
        """Those that have been idle for too long are the first ones."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][1] + IDLE_SECONDS <= loop.time():
            self.hang_up(self._idle.pop(0)[0])
        self._weeding = loop.call_at(self._idle[0][1] + IDLE_SECONDS, self._weed) if self._idle else None

    def settle(self, call: BulkCall) -> None:
        """Its end is on its way."""
        task = asyncio.create_task(call.settle(), name="end of a call on a bulk lane")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def close(self) -> None:
        """The link has ended. Calls that are under way go on; each lane is hung up after its call."""
        self._closed = True
        for lane, _ in self._idle:
            self.hang_up(lane)
        self._idle.clear()
        if self._weeding is not None:
            self._weeding.cancel()

    def cut(self) -> None:
        """The link has broken, or is wanted no more, and all its calls with it."""
        self.close()
        for lane in list(self._open):
            self.hang_up(lane)


class BulkCall:
    """One call's stream. Methods and errors are those of a grpc.aio stream of messages as bytes, but that a piece comes as a Piece.

    `listens`: after the first message there is nothing more to be said. `timeout` in seconds.
    """

    def __init__(self, lanes: BulkLanes, lane: Bulk, kind: int, metadata: Metadata, timeout: float | None, *, listens: bool) -> None:
        self._metadata = metadata
        self._lanes = lanes
        self._lane = lane
        self._opening = kind | (LAST if listens else 0)
        self._listens = listens
        self._said_end = self._heard_end = self._over = False
        self._failed: LaneBroken | None = None
        self._timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, self._expire)

    async def write(self, message: bytes) -> None:
        await self._write(MESSAGE, message)

    async def write_pieces(self, parts: Sequence[Bytes]) -> None:
        await self._write(PIECE, *parts)

    async def write_file(self, descriptor: int, size: int) -> None:
        """All of a file as pieces. Raises OSError where it is shorter."""
        for at in range(0, size, WRITTEN_PIECE_BYTES):
            await self._lane.write_file(descriptor, at, min(WRITTEN_PIECE_BYTES, size - at))

    async def read(self) -> Any:
        """A message, a Piece, or EOF."""
        if self._heard_end:
            return EOF
        kind, message = await self._lane.read()
        if kind in (MESSAGE, PIECE):
            return message
        self._heard_end = True
        if kind == FAILED and isinstance(message, bytes):
            self._failed = LaneBroken.said(message)
            raise self._failed
        return EOF

    async def done_writing(self) -> None:
        if not self._said_end:
            self._said_end = True
            await self._lane.write(END)

    async def code(self) -> grpc.StatusCode:
        """After EOF."""
        return self._failed.code() if self._failed is not None else grpc.StatusCode.OK

    async def details(self) -> str:
        return self._failed.details() if self._failed is not None else ""

    def be_patient(self, seconds: float) -> None:
        """A write that waits longer raises TimeoutError."""
        self._lane.patience = seconds

    def cancel(self) -> None:
        """Nobody wants more of it."""
        if not self._over:
            self._finish()
            if self._said_end and self._heard_end:
                self._lanes.give_back(self._lane)
            else:
                self._lanes.hang_up(self._lane)

    def release(self) -> None:
        """All of it has come but the other end's END."""
        if self._said_end and self._heard_end:
            self.cancel()
        elif not self._over:
            self._finish()
            self._lanes.settle(self)

    async def settle(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self.done_writing()
                if not self._heard_end:
                    await self._lane.until_end()
        except (LaneBroken, TimeoutError):
            self._lanes.hang_up(self._lane)
        except BaseException:
            self._lanes.hang_up(self._lane)
            raise
        else:
            self._lanes.give_back(self._lane)

    async def _write(self, kind: int, *parts: Bytes) -> None:
        if self._opening:
            kind, self._opening = self._opening, 0
            parts = opening(self._metadata, bytes(parts[0]))
            self._said_end = self._listens
        await self._lane.write(kind, *parts)

    def _finish(self) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._lane.abort("the deadline passed", grpc.StatusCode.DEADLINE_EXCEEDED)


async def open_stream(
    channel: grpc.aio.Channel, lanes: BulkLanes | None, kind: int, *, listens: bool, metadata: Metadata = (), timeout: float | None = None
) -> Any:
    """A BulkCall, or gRPC's stream. Raises LaneBroken where the link has ended while a lane was waited for."""
    if lanes is not None and (lane := await lanes.take()) is not None:
        return BulkCall(lanes, lane, kind, metadata, timeout, listens=listens)
    method: Any = channel.stream_stream
    try:
        return method(METHODS[kind])(metadata=metadata or None, timeout=timeout)
    except grpc.aio.UsageError as error:  # The channel is closed.
        raise LaneBroken(grpc.StatusCode.UNAVAILABLE, str(error)) from None


async def write_payload(stream: Any, parts: Sequence[Bytes], going_on: Any = lambda: True) -> None:
    """A payload's pieces, for as long as `going_on()`."""
    if isinstance(stream, BulkCall):
        for piece in cut(parts, WRITTEN_PIECE_BYTES):
            if not going_on():
                return
            await stream.write_pieces(piece)
    else:
        for piece in cut(parts):
            if not going_on():
                return
            await stream.write(piece_message(piece))


def release(stream: Any) -> None:
    """All of it has come, and nothing more is to be said."""
    with contextlib.suppress(RuntimeError):  # No loop runs: it ends with the interpreter.
        if isinstance(stream, BulkCall):
            stream.release()
            return
    stream.cancel()


__all__ = ["EOF", "BulkCall", "BulkLanes", "Piece", "open_stream", "release", "write_payload"]
