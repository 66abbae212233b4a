"""The streams of single calls: an HTTP/2 stream of its own to the replica that sent the call, for chunks, large results and arguments.

gRPC's flow control, and one answer a message of chunks, hold back the tool; at most the worker's credit of chunks waits here, and of a
large one a piece. It knows nothing of slots: whoever owns the calls is told how many chunks were taken, and how the stream ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._ipc.sections import PIECE_BYTES, PIECE_HEADER, piece_message, piece_of, total
from snakepit._ipc.sockets import open_memfd, seal
from snakepit._wire.bulk import PIPE, Cut, LaneBroken, Piece
from snakepit._wire.bulk_calls import BulkCall, open_stream, release
from snakepit._wire.dial import Replica
from snakepit._wire.opening import write_first
from snakepit._wire.token import Token
from snakepit.v1 import link_pb2

MESSAGE_BYTES = 128 * 1024
"""Chunks that are there together go as one message, up to this size."""

OnTaken = Callable[[int], None]
OnEnd = Callable[[str], None]
OnIdle = Callable[[], None]


class Broken(Exception):
    """The stream ended before everything had come."""


class Stalled(Exception):
    """The other end did nothing for the idle time."""


@dataclass(frozen=True)
class Line:
    """Where a call's streams go: the replica, its id of the call, this capsule. `idle_seconds`: call.streamIdleSeconds. `token`:
    the capsule's own."""

    to: Replica
    remote: int
    capsule_incarnation: str
    idle_seconds: float
    token: Token = field(default_factory=Token)

    async def open(self, **first: Any) -> tuple[Any, link_pb2.PipeRequest]:
        """The stream, and the first message that says whose it is."""
        request = link_pb2.PipeRequest(id=self.remote, capsule_incarnation=self.capsule_incarnation, **first)
        return await open_stream(
            self.to.channel, self.to.bulk, PIPE, listens=request.wants_arguments, metadata=self.token.metadata()
        ), request


async def fetch_arguments(line: Line, sections: Sequence[int]) -> int:
    """The arguments as a sealed memfd, which the caller closes. Raises Stalled and Broken."""
    try:
        rpc, request = await line.open(wants_arguments=True)
    except LaneBroken as error:
        raise Broken(_reason(error)) from error
    descriptor = open_memfd()
    try:
        await write_first(rpc, request.SerializeToString())
        await _receive(rpc, descriptor, total(sections), line.idle_seconds)
        seal(descriptor)
        await rpc.done_writing()
        release(rpc)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, grpc.RpcError | asyncio.InvalidStateError | ValueError) or _is_of_rpc(error):
            raise Broken(_reason(error)) from error
        raise
    finally:
        rpc.cancel()
    return descriptor


async def _receive(rpc: Any, descriptor: int, left: int, idle_seconds: float) -> None:
    while left:
        try:
            async with asyncio.timeout(idle_seconds):
                message = await rpc.read()
        except TimeoutError:
            raise Stalled from None
        if message is EOF:
            raise Broken(f"it ended {left} bytes too early")
        if isinstance(message, Piece):
            left -= message.size
            await _receive_piece(message, descriptor, left, idle_seconds)
            continue
        piece = piece_of(message)
        left -= len(piece)
        if left < 0:
            raise Broken("more came than was announced")
        _store(piece, descriptor)


async def _receive_piece(piece: Piece, descriptor: int, left: int, idle_seconds: float) -> None:
    if left < 0:
        raise Broken("more came than was announced")
    while piece.left:
        try:
            async with asyncio.timeout(idle_seconds):
                await piece.store(descriptor)
        except TimeoutError:
            raise Stalled from None
        except Cut as cut:
            raise Broken(str(cut)) from None


def _store(piece: memoryview, descriptor: int) -> None:
    while len(piece):
        piece = piece[os.write(descriptor, piece) :]


@dataclass
class Item:
    """A chunk on its way. Of a large one the bytes are in `descriptor`, which whoever holds the item closes."""

    chunk: link_pb2.Chunk
    descriptor: int = -1
    bytes: int = 0
    on_close: Callable[[], None] = lambda: None

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
            self.on_close()


class Pipe:
    """One stream to the caller.

    `on_taken(n)`: the consumer took n chunks. `on_idle`: it has taken all, and no more came for the idle time. `on_end(why)`: over,
    `why` empty when the consumer has all of it.
    """

    def __init__(self, line: Line, on_taken: OnTaken, on_idle: OnIdle, on_end: OnEnd) -> None:
        self._line = line
        self._on_taken = on_taken
        self._on_idle = on_idle
        self._on_end = on_end
        self._queue: deque[Item] = deque()
        self._written: deque[int] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self.task = asyncio.create_task(self._run(), name=f"pipe of call {line.remote}")

    def push(self, item: Item) -> None:
        """Queue a chunk; the one marked last ends the stream."""
        self._queue.append(item)
        self._ended = self._ended or item.chunk.last
        self._wake.set()

    def abort(self) -> None:
        """Nobody wants the rest."""
        self.task.cancel()

    async def _run(self) -> None:
        why = "aborted"
        try:
            why = await self._carry()
        except TimeoutError:
            why = f"nothing was taken for {2 * self._line.idle_seconds:g} s"
        except (grpc.RpcError, asyncio.InvalidStateError, OSError, Broken) as error:
            why = f"the stream broke: {_reason(error)}"
        finally:
            for item in self._queue:
                item.close()
            self._on_end(why)

    async def _carry(self) -> str:
        rpc, self._first = await self._line.open()
        if isinstance(rpc, BulkCall):
            rpc.be_patient(2 * self._line.idle_seconds)
        reader = asyncio.create_task(self._read(rpc))
        try:
            while not self._ended or self._queue:
                if await self._next(reader):
                    return "the consumer ended the stream"
                await self._write(rpc)
            await rpc.done_writing()
            await self._patiently(reader)
            code = await rpc.code()
            return "" if code is grpc.StatusCode.OK else f"{code.name}: {await rpc.details()}"
        finally:
            rpc.cancel()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _next(self, reader: asyncio.Task[None]) -> bool:
        """Wait for something to write; True when the consumer has ended the stream instead."""
        while not self._queue and not reader.done():
            self._wake.clear()
            waiter = asyncio.create_task(self._wake.wait())
            try:
                done, _ = await asyncio.wait((waiter, reader), timeout=self._line.idle_seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()
            if not done and not self._written:
                self._on_idle()
        if reader.done():
            reader.result()
            return True
        return False

    async def _write(self, rpc: Any) -> None:
        items = self._take()
        self._first.chunks.extend(item.chunk for item in items)
        self._written.append(len(items))
        try:
            write = partial(write_first, rpc) if self._first.id else rpc.write
            await self._patiently(write(self._first.SerializeToString()))
            self._first = link_pb2.PipeRequest()
            await self._write_pieces(rpc, items[-1])
        finally:
            items[-1].close()

    def _take(self) -> list[Item]:
        """What fits into a message; a chunk in pieces is its last."""
        items = [self._queue.popleft()]
        size = items[0].chunk.ByteSize()
        while self._queue and items[-1].descriptor < 0 and (size := size + self._queue[0].chunk.ByteSize()) <= MESSAGE_BYTES:
            items.append(self._queue.popleft())
        return items

    async def _write_pieces(self, rpc: Any, item: Item) -> None:
        if isinstance(rpc, BulkCall):
            if item.bytes:
                await rpc.write_file(item.descriptor, item.bytes)
            return
        for at in range(0, item.bytes, PIECE_BYTES):
            wanted = min(PIECE_BYTES, item.bytes - at)
            piece = os.pread(item.descriptor, wanted, at)
            if len(piece) != wanted:
                raise Broken("the worker handed over less than it said")
            await self._patiently(rpc.write(piece_message([piece])))

    async def _patiently(self, step: Any) -> None:
        """The replica ends a stream whose caller stalls; a replica that doesn't is given twice the time. Raises TimeoutError."""
        async with asyncio.timeout(2 * self._line.idle_seconds):
            await step

    async def _read(self, rpc: Any) -> None:
        while (message := await rpc.read()) is not EOF:
            if message[:1] != PIECE_HEADER:
                with contextlib.suppress(IndexError):  # More answers than messages: nothing more to give credit for.
                    self._on_taken(self._written.popleft())


def _is_of_rpc(error: BaseException) -> bool:
    """Is it the RPC that was cancelled, with its channel, and not the task that waits for it?"""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling()


def _reason(error: BaseException) -> str:
    details = getattr(error, "details", None)
    return str(details() if callable(details) else error)
