"""Targets: what comes over TCP from whoever can dial a port."""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from unittest import mock

from google.protobuf.message import DecodeError

from fuzz.target import cut, target, until_done
from snakepit._wire import turns as turns_module
from snakepit._wire.bulk import END, Bulk, LaneBroken, Piece
from snakepit._wire.lane import Lane
from snakepit.v1 import link_pb2


class Transport(asyncio.Transport):
    """Takes nothing, and knows whether it was hung up, and whether anything may be read."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def _on_a_lane(pieces: list[bytes]) -> tuple[list[bytes], str]:
    """The frames that a lane finds, and why it broke."""
    lane, transport, found = Lane(), Transport(), []
    lane.connection_made(transport)
    lane.attach(lambda frames: found.extend(each.SerializeToString(deterministic=True) for each in frames), lambda: None)
    for piece in pieces:
        if not transport.aborted:
            lane.data_received(piece)
        while transport.paused and not transport.aborted:  # It is others' turn.
            await asyncio.sleep(0)
    broken = lane.ended.result() if lane.ended.done() else ""
    assert bool(broken) == transport.aborted
    lane.connection_lost(None)
    return found, broken


@target()
def lane(data: bytes) -> None:
    """However a stream is cut, and however long a turn is, the same frames are found, and the same fault."""

    async def each() -> None:
        pieces = cut(data)
        found = await _on_a_lane(pieces)
        assert await _on_a_lane([b"".join(pieces)]) == found
        with mock.patch.object(turns_module, "TURN_SECONDS", 0.0):
            assert await _on_a_lane([b"".join(pieces)]) == found

    until_done(each())


@target()
def bulk(data: bytes) -> None:
    """A bulk lane is read to its end, pieces and all, or breaks."""

    async def read() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            end = Bulk(ours)
            theirs.send(data[:32_768])
            theirs.shutdown(socket.SHUT_WR)
            try:
                while True:
                    await _read_one(end)
            except LaneBroken:
                end.abort()

    until_done(asyncio.wait_for(read(), 5))


async def _read_one(end: Bulk) -> None:
    kind, said = await end.read()
    if kind == END:
        await end.until_end()
    elif isinstance(said, Piece):
        room = memoryview(bytearray(100))
        await end.receive_into(room[: min(said.left, 100)] if said.left else room)


@target(DecodeError)
def frames(data: bytes) -> Any:
    """protobuf's own parser: the other targets of frames begin with what it gives."""
    return link_pb2.LinkRequest.FromString(data)
