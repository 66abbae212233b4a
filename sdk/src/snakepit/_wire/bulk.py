"""A bulk lane: a TCP connection beside a link for what is large, or streams, of one call after another.

A message is its length (four bytes, little-endian), its kind (one byte) and its bytes. Those of a MESSAGE, and of the OPEN that begins a
call, are a FromAgent, ToAgent, FromClient or ToClient; those of a PIECE are bytes of a payload. A piece is not read before somebody says
where its bytes belong, so TCP's own window is the flow control: what a slow reader has not taken stays in buffers of the kernel, which
are bounded here, and nobody else uses the connection meanwhile.

Whoever dials shows the link's bulk ticket (see `connect`), so the lane is that link's peer's, and opens a call. Each end ends it with END
or FAILED, and then the lane may be used for another one. Who wants no more of a call hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Sequence
from functools import partial

import grpc
from google.rpc.status_pb2 import Status as RpcStatus

from snakepit._ipc.sections import Assembler, Bytes
from snakepit._wire.channels import LONGEST_BYTES, UNFINISHED_BYTES, UNFINISHED_SECONDS
from snakepit._wire.connect import Connection
from snakepit._wire.readiness import Readiness
from snakepit._wire.secured import RECORD_BYTES, Secured
from snakepit._wire.status import CODES, TRAILER, Metadata
from snakepit._wire.turns import Turns

OPEN, MESSAGE, PIECE, END, FAILED = range(1, 6)
"""FAILED is an END with a google.rpc.Status."""

LAST = 0x80
"""With OPEN: nothing more comes from this end, it is END too."""

WRITTEN_PIECE_BYTES = 1024 * 1024
"""At most, by an end that has the bytes. Whoever passes them on makes smaller ones of it, as they come."""

ROOM_BYTES = 192 * 1024
RECEIVE_BYTES, SEND_BYTES = 512 * 1024, 256 * 1024
"""Buffers of the kernel, which doubles the figures for its own books. With what is in the program's hands, less than 1 MiB."""

WOKEN_BYTES = 128 * 1024
"""Of a piece, so much is worth waking up for."""

TURN_BYTES = 256 * 1024
"""After so many the loop's other tasks have their turn. It is 0.1 ms, and many lanes may have something at the same time."""

DROPPED_BYTES = 4 * 1024 * 1024
"""What still comes of a call that has ended; with more, hanging up is cheaper."""

_HEAD = struct.Struct("<IB")
_MOST_PARTS = 512

Moved = Callable[[int], object]


class LaneBroken(grpc.aio.AioRpcError):
    """How a call ended on a bulk lane, as gRPC says it of a stream: so it is handled where a stream's end is."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: Metadata = ()) -> None:
        super().__init__(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), details, None)

    def __str__(self) -> str:
        return self.details() or ""

    @classmethod
    def said(cls, body: bytes) -> LaneBroken:
        """What a FAILED says."""
        status = RpcStatus.FromString(body)
        return cls(CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, ((TRAILER, body),))


class Cut(Exception):
    """The rest of a piece can't be had: its lane broke, or it is wanted no more."""

    def __init__(self, broken: LaneBroken | None = None) -> None:
        super().__init__(str(broken))
        self.broken = broken or LaneBroken(grpc.StatusCode.CANCELLED, "the piece is wanted no more")


class Bulk:
    """One end of the connection. One task reads at a time; any may write. `patience`: seconds that a write may wait. `turns`: shared with
    others, of which one at a time goes on after its turn. `endings`: the same, of those whose other ends have hung up."""

    def __init__(self, sock: Connection, turns: Turns | None = None, endings: Turns | None = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        self.patience: float | None = None
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._is_secured = isinstance(sock, Secured)
        self._descriptor = sock.fileno()
        self._send_file = sock.send_file if isinstance(sock, Secured) else partial(os.sendfile, self._descriptor)
        self._writing = asyncio.Lock()
        self._readable = Readiness(self._descriptor, self._loop.add_reader, self._loop.remove_reader)
        self._writable = Readiness(self._descriptor, self._loop.add_writer, self._loop.remove_writer)
        self._least = 1
        self._piece: Piece | None = None
        self._turn = 0
        self._turns = turns
        self._endings = endings
        self._end: tuple[grpc.StatusCode, str] | None = None

    # ---- reading

    async def read(self) -> tuple[int, bytes | Piece]:
        """The next message and its kind. What is left of a piece before it is dropped. Raises LaneBroken."""
        if self._piece is not None:
            await self._drop(self._piece)
        size, kind = _HEAD.unpack(await self._exactly(_HEAD.size))
        if kind == PIECE:
            self._piece = piece = Piece(self, size)
            return kind, piece
        if size > LONGEST_BYTES:
            raise self.abort(f"a message of {size} bytes is over the limit of {LONGEST_BYTES}")
        if size <= UNFINISHED_BYTES:
            return kind, await self._exactly(size, amid=True) if size else b""
        try:
            async with asyncio.timeout(UNFINISHED_SECONDS):
                return kind, await self._large(size)
        except TimeoutError:
            raise self.abort(f"a message was not finished within {UNFINISHED_SECONDS:g} s") from None

    async def until_end(self) -> None:
        """Drop what the other end still sends of a call. Raises LaneBroken."""
        dropped = 0
        while (message := await self.read())[0] not in (END, FAILED):
            dropped += message[1].size if isinstance(message[1], Piece) else len(message[1])
            if dropped > DROPPED_BYTES:
                raise self.abort("more came of a call than anybody wanted")

    async def until_hangup(self) -> None:
        """Returns when the other end, which has nothing to say, has gone."""
        with contextlib.suppress(LaneBroken):
            await self._until_readable(1)
            await self._its_ending()

    async def receive_into(self, view: memoryview) -> int:
        """What is there, at least a byte; it is there before anybody else runs. Raises LaneBroken."""
        if self._turn >= TURN_BYTES:
            await self._others()
        while True:
            try:
                size = self._step(self._sock.recv_into, view)
            except BlockingIOError:
                self._turn = 0
                await self._until_readable(len(view))
                continue
            if not size:
                await self._its_ending()
                raise self.abort("the other end has hung up")
            if isinstance(self._sock, Secured):
                self._turn += self._sock.beside
            return size

    async def _its_ending(self) -> None:
        """The other end has hung up: wait until it is this one's turn to end."""
        if self._endings is not None:
            await self._endings.turn()

    async def _large(self, size: int) -> bytes:
        """As it comes: what is announced takes no memory before."""
        lefts = range(size, 0, -UNFINISHED_BYTES)
        return b"".join([await self._exactly(min(left, UNFINISHED_BYTES), amid=True) for left in lefts])

    async def _exactly(self, size: int, *, amid: bool = False) -> bytes:
        """So many bytes. Who stops reading within a message could not find the next one, so the lane ends."""
        room = bytearray(size)
        view = memoryview(room)
        try:
            while len(view):
                view = view[await self.receive_into(view) :]
        except asyncio.CancelledError:
            if amid or len(view) < size:
                self.abort("a message was read in part")
            raise
        return bytes(room)

    async def _drop(self, piece: Piece) -> None:
        if not piece.stopped:
            piece.stopped = True
            self._readable.fail(Cut())
        while piece.left:
            piece.left -= await self.receive_into(_room[: piece.left])
        self._piece = None

    # ---- writing

    async def write(self, kind: int, *parts: Bytes, borrowed: bool = False) -> None:
        """One message. `borrowed`: the bytes are only there until this task waits. Raises LaneBroken, TimeoutError."""
        if borrowed and self._writing.locked():
            parts = tuple([bytes(part) for part in parts])
        async with self._writing:
            await self._send([_HEAD.pack(sum(map(len, parts)), kind), *parts], borrowed)

    async def write_file(self, descriptor: int, at: int, size: int) -> None:
        """A piece from a file. Raises LaneBroken, TimeoutError, and OSError where the file is shorter."""
        async with self._writing:
            await self._send([_HEAD.pack(size, PIECE)], False, socket.MSG_MORE)
            try:
                while size:
                    if self._turn >= TURN_BYTES:
                        await self._others()
                    try:
                        sent = self._step(self._send_file, descriptor, at, size)
                    except BlockingIOError:
                        await self._until_writable()
                        continue
                    if not sent:
                        raise OSError("the worker handed over less than it said")
                    at, size = at + sent, size - sent
            except BaseException:
                self.abort("a piece was cut off")
                raise

    async def _send(self, parts: list[Bytes], borrowed: bool, flags: int = 0) -> None:
        whole = left = sum(map(len, parts))
        try:
            while left:
                if self._turn >= TURN_BYTES and not borrowed:
                    await self._others()
                try:
                    sent = self._step(self._sock.sendmsg, parts[:_MOST_PARTS], (), flags)
                except BlockingIOError:
                    if borrowed:
                        parts, borrowed = [bytes(part) for part in parts], False
                    await self._until_writable()
                    continue
                left -= sent
                if left:
                    parts = _rest(parts, sent)
        except BaseException:
            if left < whole or self._is_secured:  # With TLS nobody knows what is under way.
                self.abort("a message was cut off")
            raise

    # ---- both

    @property
    def reads(self) -> bool:
        """Does somebody wait for what comes next?"""
        return self._readable.is_awaited

    @property
    def is_quiet(self) -> bool:
        """Open, and nothing has come that nobody waits for."""
        if self._end is not None:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def abort(self, why: str = "it was closed", code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> LaneBroken:
        """Hang up; whoever waits hears why. Idempotent."""
        if self._end is None:
            self._end = code, why
            for side in (self._readable, self._writable):
                if not self._loop.is_closed():
                    side.close()
                    side.fail(LaneBroken(code, why))
            self._sock.close()
        return LaneBroken(*self._end)  # A new one: with a traceback it would hold this lane, and a lane that holds it is garbage.

    def _step(self, call: Callable[..., int | None], *arguments: object) -> int:
        """A system call that moves bytes. Raises BlockingIOError, LaneBroken."""
        if self._end is not None:
            raise LaneBroken(*self._end)
        try:
            size = call(*arguments)
        except BlockingIOError:
            raise
        except OSError as error:
            raise self.abort(str(error)) from None
        self._turn += size or 0
        return size or 0

    async def _others(self) -> None:
        self._turn = 0
        await (asyncio.sleep(0) if self._turns is None else self._turns.turn())

    async def _until_readable(self, size: int) -> None:
        """Until so much has come, or nearly: to be woken for every segment costs more than to copy it."""
        least = min(size, WOKEN_BYTES)
        if self._is_secured:  # Which may have the better part of a record already.
            least = max(1, least - RECORD_BYTES)
        if least != self._least:
            self._least = least
            self._step(self._sock.setsockopt, socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
        await self._readable.wait()

    async def _until_writable(self) -> None:
        async with asyncio.timeout(self.patience):
            await self._writable.wait()


class Piece:
    """Bytes of a payload that are still in the socket. `size` of them were announced, `left` have not been read."""

    def __init__(self, lane: Bulk, size: int) -> None:
        self.size = self.left = size
        self.stopped = False
        self._lane = lane

    @property
    def is_awaited(self) -> bool:
        """Does whoever reads it wait for whoever sends it?"""
        return self._lane.reads

    async def some(self, view: memoryview) -> int:
        """What is there, at least a byte. Raises Cut."""
        if self.stopped:
            raise Cut
        try:
            size = await self._lane.receive_into(view[: self.left])
        except LaneBroken as error:
            raise Cut(error) from None
        self.left -= size
        return size

    async def pour(self, lane: Bulk, moved: Moved) -> None:
        """Into another lane, as it comes: nothing of it is kept but what that lane doesn't take. Raises Cut, and that lane's LaneBroken."""
        while self.left:
            size = await self.some(_room)
            await lane.write(PIECE, _room[:size], borrowed=True)
            moved(size)

    async def gather(self, into: Assembler, moved: Moved = lambda size: None) -> None:
        """Where it belongs. Raises Cut, and ValueError for more than was announced."""
        if self.left > into.left:
            raise ValueError(f"{self.left} bytes came where {into.left} were left")
        while self.left:
            size = await self.some(into.room)
            into.came(size)
            moved(size)

    async def store(self, descriptor: int) -> None:
        """What is there, into a file. Raises Cut."""
        size = await self.some(_room)
        at = 0
        while at < size:
            at += os.write(descriptor, _room[at:size])


_room = memoryview(bytearray(ROOM_BYTES))
"""Where a piece is read to that is written on, or dropped, before anybody else runs."""


def _rest(parts: Sequence[Bytes], sent: int) -> list[Bytes]:
    for index, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[index + 1 :]]
        sent -= len(part)
    return []
