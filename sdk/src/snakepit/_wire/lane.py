"""A link's lane: a TCP connection beside the link's gRPC stream that carries its frames, for a small part of what a gRPC message costs.

The stream comes first: Hello, credentials and Welcome are gRPC's. The Welcome names a port and a ticket; who shows the ticket there gets
it back, and from then on every frame of the link takes the lane. The stream stays open, and with it the link: its keepalive finds a peer
that has vanished while nothing is asked of it (else `silence` does).
Where no lane can be had (a port-forward, a proxy, an older end), the frames stay on the stream.

On the lane a message is its length, four bytes, little-endian, and a LinkRequest (LinkResponse has the same fields).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import cast

from google.protobuf.message import DecodeError

from snakepit._wire.channels import (
    KEEPALIVE_TIMEOUT_SECONDS,
    LONGEST_BYTES,
    MOST_FRAMES,
    SILENT_SECONDS,
    UNFINISHED_BYTES,
    UNFINISHED_SECONDS,
)
from snakepit.v1 import link_pb2

TICKET_BYTES = 16

UNSENT_BYTES = 1024 * 1024
"""What the kernel has not taken; above it a link keeps its frames, so that they travel together later."""

CONNECT_SECONDS = 0.5
"""A lane that takes longer to open is done without."""

_LENGTH = struct.Struct("<I")

OnMessage = Callable[[Sequence[link_pb2.Frame]], None]


class Lane(asyncio.Protocol):
    """One end. `shown` gets the ticket at the accepting end. What comes before `attach` is kept, as far as one message goes."""

    def __init__(self, shown: Callable[[Lane, bytes], None] | None = None) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_full = False
        self._shown = shown
        self._data = bytearray()
        self._take: OnMessage | None = None
        self._on_room: Callable[[], None] = lambda: None
        self._answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._unfinished: asyncio.TimerHandle | None = None

    def attach(self, take: OnMessage, on_room: Callable[[], None]) -> None:
        """`take` gets the frames of each message; `on_room` is called when the lane is full no more."""
        self._take, self._on_room = take, on_room
        del self._data[: self._hand_over(self._data)]

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
            transport.write_eof()
            await asyncio.wait((self.ended,), timeout=seconds)
        transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # ---- the ticket

    async def show(self, ticket: bytes) -> bool:
        """The dialling end: is the lane that of the ticket?"""
        assert self._transport is not None
        self._transport.write(ticket)
        await asyncio.wait((self._answered, self.ended), return_when=asyncio.FIRST_COMPLETED)
        return self._answered.done() and self._answered.result() == ticket

    def admit(self, ticket: bytes) -> None:
        """The accepting end knows it."""
        if self._transport is not None:
            self._transport.write(ticket)

    def detach(self, ticket: bytes) -> socket.socket | None:
        """In `shown`: the connection is to be no link's lane. Its socket, which is the caller's now; the peer has its ticket back."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._data:
            return None
        transport.pause_reading()
        sock = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
        transport.abort()
        with contextlib.suppress(OSError):  # It has hung up already: whoever reads is told.
            sock.send(ticket)
        return sock

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        keep_alive(self._transport.get_extra_info("socket"))
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._take is not None and not self._data:
            self._data += data[self._hand_over(data) :]
            if self._data:
                self._hurry(0)
            return
        self._data += data
        if self._take is not None:
            handed = self._hand_over(self._data)
            del self._data[:handed]
            self._hurry(handed)
        elif not self._answered.done():
            self._take_ticket()
        elif len(self._data) > LONGEST_BYTES:
            self._break("more came than a message before it was wanted")

    def eof_received(self) -> bool:
        self._end("the peer ended the lane")
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self._unfinished is not None:
            self._unfinished.cancel()
        self._end(f"the lane broke: {error}" if error else "the lane was closed")

    def pause_writing(self) -> None:
        self.is_full = True

    def resume_writing(self) -> None:
        self.is_full = False
        self._on_room()

    # ---- inside

    def _hurry(self, handed: int) -> None:
        """What has come in part must be whole in time. `handed`: bytes of what has just become so."""
        if self._unfinished is not None and (handed or not self._data):
            self._unfinished.cancel()
            self._unfinished = None
        if self._unfinished is None and len(self._data) > UNFINISHED_BYTES:
            why = f"a message was not finished within {UNFINISHED_SECONDS:g} s"
            self._unfinished = asyncio.get_running_loop().call_later(UNFINISHED_SECONDS, self._break, why)

    def _take_ticket(self) -> None:
        if len(self._data) < TICKET_BYTES:
            return
        ticket = bytes(self._data[:TICKET_BYTES])
        del self._data[:TICKET_BYTES]
        self._answered.set_result(ticket)
        if self._shown is not None:
            self._shown(self, ticket)

    def _hand_over(self, data: bytes | bytearray) -> int:
        """Every message that is there as a whole; how many bytes they were."""
        at, size = 0, len(data)
        while size - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, at)
            begin = at + _LENGTH.size
            if length > LONGEST_BYTES:
                self._break(f"a message of {length} bytes is over the limit of {LONGEST_BYTES}")
                return size
            if size - begin < length:
                break
            at = begin + length
            self._read(bytes(data[begin:at]))
        return at

    def _read(self, message: bytes) -> None:
        try:
            frames = link_pb2.LinkRequest.FromString(message).frames
        except DecodeError as error:
            self._break(f"what came is no message: {error}")
            return
        if len(frames) > MOST_FRAMES:
            self._break(f"a message has {len(frames)} frames, {MOST_FRAMES} is the most")
            return
        if self._take is not None:
            self._take(frames)

    def _break(self, why: str) -> None:
        self._end(why)
        self.abort()

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


def keep_alive(sock: socket.socket) -> None:
    """No box between may forget an idle lane. That the peer's machine has vanished is noticed by the stream, under load too."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        probes = 2
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, probes)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(SILENT_SECONDS) - probes * KEEPALIVE_TIMEOUT_SECONDS)


async def open_socket(host: str, port: int, ticket: bytes) -> socket.socket | None:
    """A connection of its own for that ticket; None where there is none to be had within CONNECT_SECONDS."""
    loop = asyncio.get_running_loop()
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0]
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, ticket)
            answer = b""
            while len(answer) < len(ticket) and (more := await loop.sock_recv(sock, len(ticket) - len(answer))):
                answer += more
            if answer == ticket:
                shown, sock = sock, None
                return shown
    except (OSError, TimeoutError):
        pass
    finally:
        if sock is not None:
            sock.close()
    return None


async def open_lane(host: str, port: int, ticket: bytes) -> Lane | None:
    """The lane of that ticket; None where there is none to be had within CONNECT_SECONDS."""
    lane = Lane()
    shown = False
    try:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.get_running_loop().create_connection(lambda: lane, host, port)
                shown = await lane.show(ticket)
    finally:
        if not shown:
            lane.abort()
    return lane if shown else None
