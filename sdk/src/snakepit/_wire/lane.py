"""A lane: what carries a link's frames, on a TCP connection beside its gRPC stream.

It costs a small part of what gRPC does for each message. The stream comes first: Hello, credentials and Welcome are gRPC's, and the
Welcome names a port and a ticket (see `connect`). The stream stays open, and with it the link: its keepalive finds a peer that has vanished
while nothing is asked of it (else `silence` does).

On the lane a message is its length, four bytes, little-endian, and a LinkRequest (LinkResponse has the same fields).
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from google.protobuf.message import DecodeError

from snakepit._wire.channels import LONGEST_BYTES, MOST_FRAMES, UNFINISHED_BYTES, UNFINISHED_SECONDS
from snakepit._wire.connect import Connection
from snakepit._wire.secured import Secured, SecuredTransport
from snakepit._wire.turns import Turns
from snakepit.v1 import link_pb2

UNSENT_BYTES = 1024 * 1024
"""What the kernel has not taken; above it a link keeps its frames, so that they travel together later."""

AT_ONCE = 16
"""So many frames are handed over between two looks at the clock."""

TURN_BYTES = 128 * 1024
"""A read that has brought so much is a turn's last: uvloop reads on for as long as reads are full, up to 8 MB, which are tens of
milliseconds of work."""

LONG_BYTES = 16 * 1024
"""A longer message is read a few frames at a time: 20,000 frames take milliseconds, and a million empty ones sixty."""

PART_BYTES = 64 * 1024
"""Of such a message, so many bytes are read at a time, or one frame."""

_LENGTH = struct.Struct("<I")
_FRAMES_TAG = 0x0A
"""Of `frames`, before the length of each: a message is frames, and what later versions may say beside."""

_VARINT, _BYTES = 0, 2
_SIZES = {_VARINT: 0, 1: 8, _BYTES: 0, 5: 4}
"""Bytes of protobuf's kinds of fields, where that isn't said in each."""

_VARINT_BYTES = 10

OnMessage = Callable[[Sequence[link_pb2.Frame]], None]


def parts(frames: Sequence[link_pb2.Frame]) -> Iterator[Sequence[link_pb2.Frame]]:
    """So few of them that the clock is looked at in time."""
    if len(frames) <= AT_ONCE:
        yield frames
        return
    for at in range(0, len(frames), AT_ONCE):
        yield frames[at : at + AT_ONCE]


def read_in_parts(message: bytes) -> Iterator[Sequence[link_pb2.Frame]]:
    """Its frames, a few at a time. Raises DecodeError and TooManyFrames, maybe after some of them."""
    begin = at = fields = 0
    size = len(message)
    while begin < size:
        end, last = min(size, begin + PART_BYTES), fields + AT_ONCE
        while at < end and fields < last:
            at = _end_of_field(message, at)
            fields += 1
        if fields > MOST_FRAMES:
            raise TooManyFrames
        yield link_pb2.LinkRequest.FromString(message[begin:at]).frames  # What is cut off is refused here.
        begin = at


def _end_of_field(message: bytes, at: int) -> int:
    """Where the next one begins, in protobuf's encoding; behind the message where this one is cut off."""
    if message[at] == _FRAMES_TAG and at + 1 < len(message) and message[at + 1] < 0x80:  # Nearly all are.
        return at + 2 + message[at + 1]
    tag, at = _varint(message, at)
    kind = tag & 7
    if kind not in _SIZES:
        raise DecodeError(f"a field is of kind {kind}, which nobody writes")
    length, at = _varint(message, at) if kind in (_VARINT, _BYTES) else (0, at)
    return at + (length if kind == _BYTES else _SIZES[kind])


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """And where it ends. Raises DecodeError for one that is too long: each byte more would take as long as all before it."""
    value = 0
    for number, byte in enumerate(message[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * number
        if byte < 0x80:
            return value, at + number + 1
    if at + _VARINT_BYTES <= len(message):
        raise DecodeError(f"a number has more than {_VARINT_BYTES} bytes, which nobody writes")
    return 0, len(message) + 1


class TooManyFrames(Exception):
    """In one message."""


async def in_turns(frames: Sequence[link_pb2.Frame], take: OnMessage, turns: Turns) -> None:
    """Hand them over; others have their turns meanwhile."""
    until = time.perf_counter() + turns.seconds
    for part in parts(frames):
        if time.perf_counter() >= until:
            await turns.turn()
            until = time.perf_counter() + turns.seconds
        take(part)


class Lane(asyncio.Protocol):
    """One end of a connection. What comes before `attach` is kept, as far as one message goes. `turns`: shared with others of its kind."""

    name = "lane"

    def __init__(self, turns: Turns | None = None) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_full = False
        self._data = bytearray()
        self._take: OnMessage | None = None
        self._on_room: Callable[[], None] = lambda: None
        self._transport: asyncio.Transport | None = None
        self._unfinished: asyncio.TimerHandle | None = None
        # Frames of the message that is being handed over; when the turn is over, and whether the next one is waited for.
        self._turns = turns or Turns()
        self._parts: Iterator[Sequence[link_pb2.Frame]] = iter(())
        self._until = 0.0
        self._waits = False
        self._at_eof = False
        # Why the connection is lost, while the rest of what had come on it is handed over; and whether nobody wants that.
        self._lost = ""
        self._given_up = False

    @classmethod
    async def on(cls, connection: Connection, turns: Turns | None = None) -> Lane:
        """A lane that owns that connection from now on. Raises OSError."""
        lane = cls(turns)
        bare, protocol = (
            (connection.sock, SecuredTransport(connection, lane, lane.came)) if isinstance(connection, Secured) else (connection, lane)
        )
        try:
            await asyncio.get_running_loop().create_connection(lambda: protocol, sock=bare)
        except BaseException:
            connection.close()
            raise
        return lane

    def attach(self, take: OnMessage, on_room: Callable[[], None]) -> None:
        """`take` gets the frames of each message; `on_room` is called when the lane is full no more."""
        self._take, self._on_room = take, on_room
        self._catch_up()

    @property
    def is_open(self) -> bool:
        """Can anything be written?"""
        return self._transport is not None and not self._transport.is_closing()

    def write(self, message: bytes) -> None:
        """To an open lane."""
        assert self._transport is not None
        self._transport.write(_LENGTH.pack(len(message)) + message)

    async def finish(self, seconds: float) -> None:
        """Hang up when what was written has been sent, and the peer has hung up too: at once, it might not have read it."""
        transport = self._transport
        if transport is None:
            return
        if not transport.is_closing():
            with contextlib.suppress(OSError):  # The peer's reset has not been told yet.
                transport.write_eof()
        await asyncio.wait((self.ended,), timeout=seconds)
        transport.close()

    async def catch_up(self, seconds: float) -> None:
        """Hang up, and hand over what has come and waits for its turn: it is worth as much as before. Results, say."""
        if self._waits and self._transport is not None:
            self._transport.close()
            await asyncio.wait((self.ended,), timeout=seconds)

    def abort(self) -> None:
        """Nothing more is sent, or handed over."""
        self._given_up = True
        if self._lost:
            self._end(self._lost)
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._take is None:
            self._data += data
            if len(self._data) > LONGEST_BYTES:
                self._break("more came than a message before it was wanted")
            return
        if self._data or self._waits:
            self._data += data
            if not self._waits:
                self._catch_up()
        else:
            self._data += data[self._hand_over(data) :]
            if self._data:
                self._hurry(0)
        self.came(len(data))

    def came(self, size: int) -> None:
        """So many bytes were read in one go, for what was received just now."""
        if size >= TURN_BYTES and not self._waits and self._take is not None:
            self._stop_here()

    def eof_received(self) -> bool:
        self._at_eof = True
        if not self._waits:
            self._end("the peer ended the lane")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
        why = f"the lane broke: {error}" if error else "the lane was closed"
        if not self._waits or self._given_up:
            self._end(why)
        else:  # When the rest is handed over.
            self._lost = self._lost or why

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._on_room()

    # ---- inside

    def _hurry(self, handed: int) -> None:
        """What has come in part must be whole in time; but not what waits for a turn. `handed`: bytes of what has just become whole."""
        if self._unfinished is not None and (handed or not self._data):
            self._unfinished.cancel()
            self._unfinished = None
        if self._unfinished is None and not self._waits and len(self._data) > UNFINISHED_BYTES:
            why = f"a message was not finished within {UNFINISHED_SECONDS:g} s"
            self._unfinished = asyncio.get_running_loop().call_later(UNFINISHED_SECONDS, self._break, why)

    def _catch_up(self) -> None:
        """Hand over what is there."""
        handed = self._hand_over(self._data)
        del self._data[:handed]
        self._hurry(handed)

    def _go_on(self) -> None:
        """It is this lane's turn again."""
        self._waits = False
        if self._transport is None or self._given_up:
            return
        self._until = time.perf_counter() + self._turns.seconds
        if self._hand_over_parts():
            self._catch_up()
        if not self._waits:
            if not self._transport.is_closing():
                self._transport.resume_reading()
            elif not self._at_eof:
                self._lost = self._lost or "the lane was closed"
            if self._lost or self._at_eof:
                self._end(self._lost or "the peer ended the lane")

    def _stop_here(self) -> None:
        """The turn is over, and there is more."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._waits = True
        self._turns.wait(self._go_on)

    def _hand_over(self, data: bytes | bytearray) -> int:
        """The messages that are there as a whole, as many as the turn has time for; how many bytes they were."""
        at, size = 0, len(data)
        self._until = time.perf_counter() + self._turns.seconds
        while size - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            begin = at + _LENGTH.size
            if length > LONGEST_BYTES:
                self._break(f"a message of {length} bytes is over the limit of {LONGEST_BYTES}")
                return size
            if size - begin < length:
                break
            at = begin + length
            if not self._read(bytes(memoryview(data)[begin:at] if data is self._data else data[begin:at])):
                return size
            if self._waits:
                break
            if size - at >= _LENGTH.size and time.perf_counter() >= self._until:
                self._stop_here()
                break
        return at

    def _hand_over_parts(self) -> bool:
        """Of a message; False: the turn is over before it, or the lane is broken."""
        try:
            for part in self._parts:
                if self._take is not None:
                    self._take(part)
                if time.perf_counter() >= self._until:
                    self._stop_here()
                    return False
        except DecodeError as error:
            self._break(f"what came is no message: {error}")
            return False
        except TooManyFrames:
            self._break(f"a message has too many frames, {MOST_FRAMES} is the most")
            return False
        return True

    def _read(self, message: bytes) -> bool:
        """False: the lane is broken."""
        if len(message) > LONG_BYTES:
            self._parts = read_in_parts(message)
            return self._hand_over_parts() or self._waits
        try:
            frames = link_pb2.LinkRequest.FromString(message).frames
        except DecodeError as error:
            self._break(f"what came is no message: {error}")
            return False
        if len(frames) > AT_ONCE:
            self._parts = parts(frames)
            self._hand_over_parts()
        elif self._take is not None:
            self._take(frames)
        return True

    def _break(self, why: str) -> None:
        self._end(why)
        self.abort()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
