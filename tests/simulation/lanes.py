"""Lanes and bulk lanes without sockets: what a link's ends have in place of their own classes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]
from simulation.network import Socket

from snakepit._wire.bulk import END, FAILED, LAST, OPEN, PIECE, LaneBroken, Piece
from snakepit._wire.turns import Turns
from snakepit.v1 import link_pb2


class SimulatedLane:
    """In place of `snakepit._wire.lane.Lane`."""

    name = "lane"
    is_full = False

    def __init__(self, sock: Socket) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sock = sock
        self._reading: asyncio.Task[None] | None = None
        self._ended_writing = False

    @classmethod
    async def on(cls, sock: Socket, turns: Turns | None = None) -> SimulatedLane:
        """`turns`: a message here is handed over in one."""
        return cls(sock)

    def attach(self, take: Callable[[Any], None], on_room: Callable[[], None]) -> None:
        self._reading = asyncio.get_running_loop().create_task(self._read(take), name="lane")

    async def _read(self, take: Callable[[Any], None]) -> None:
        try:
            while (message := await self._sock.inward.read()) is not EOF:
                take(link_pb2.LinkRequest.FromString(message).frames)
            self._end("the peer ended the lane")
        except grpc.RpcError as error:
            self._end(f"the lane broke: {error}")

    @property
    def is_open(self) -> bool:
        return not self.ended.done() and not self._ended_writing

    def write(self, message: bytes) -> None:
        self._sock.outward.send(message)

    async def finish(self, seconds: float) -> None:
        if self.is_open:
            self._ended_writing = True
            self._sock.outward.end(EOF)
            await asyncio.wait((self.ended,), timeout=seconds)

    async def catch_up(self, seconds: float) -> None:
        """What comes is handed over at once, and nothing waits for its turn."""

    def abort(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._end("the lane was closed")
        self._sock.close()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


class SimulatedBulk:
    """In place of `snakepit._wire.bulk.Bulk`: each message is a kind and its bytes, and comes as a whole."""

    patience: float | None = None

    def __init__(self, sock: Socket, turns: Turns | None = None, endings: Turns | None = None) -> None:
        """`turns`, `endings`: a message here is taken in one, and so is an end."""
        self._sock = sock
        sock.connection.is_bulk = True
        self._broken: LaneBroken | None = None
        self._data = memoryview(b"")
        self._piece: Piece | None = None
        self._reading = False

    async def read(self) -> tuple[int, bytes | Piece]:
        if self._piece is not None:
            self._piece.stopped, self._piece = True, None
        kind, body = await self._message()
        if kind != PIECE:
            return kind, body
        self._data = memoryview(body)
        self._piece = piece = Piece(self, len(body))  # type: ignore[arg-type]
        return kind, piece

    async def _message(self) -> Any:
        self._reading = True
        try:
            message = await self._sock.inward.read()
        except grpc.RpcError as error:
            raise self.abort(str(error)) from None
        finally:
            self._reading = False
        if message is EOF:
            raise self.abort("the other end has hung up")
        return message

    async def receive_into(self, view: memoryview) -> int:
        """Of the piece that was read last."""
        if self._broken is not None:
            raise self._broken
        size = min(len(view), len(self._data))
        view[:size] = self._data[:size]
        self._data = self._data[size:]
        return size

    @property
    def reads(self) -> bool:
        return self._reading

    async def until_end(self) -> None:
        while (await self._message())[0] not in (END, FAILED):
            continue

    async def until_hangup(self) -> None:
        with contextlib.suppress(LaneBroken):
            await self._message()

    async def write(self, kind: int, *parts: Any, borrowed: bool = False) -> None:
        message = kind, b"".join(map(bytes, parts))
        inward = self._sock.inward
        if kind & ~LAST == OPEN:
            self._sock.connection.network.perhaps_break(self._sock.connection)
        async with asyncio.timeout(self.patience):
            await self._sock.outward.write(message, lambda: inward.ended is not None)
        if inward.ended is not None:
            raise self.abort(str(inward.ended))

    async def write_file(self, descriptor: int, at: int, size: int) -> None:
        await self.write(PIECE, os.pread(descriptor, size, at))

    @property
    def is_quiet(self) -> bool:
        return self._broken is None and self._sock.inward.is_quiet

    def abort(self, why: str = "it was closed", code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> LaneBroken:
        if self._broken is None:
            self._broken = LaneBroken(code, why)
            self._sock.close()
        return self._broken
