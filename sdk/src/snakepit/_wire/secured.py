"""TLS on a connection to the lane port: a lane and a bulk lane use it as they use the bare connection.

Python's own TLS, on a connection whose bytes we move ourselves: a ticket decides what a connection is for, and comes after the handshake;
a bulk lane reads a payload to where it belongs, and no further than that. A connection that ends without TLS's own farewell has ended all
the same: what is on it says itself where it is whole.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, cast

from snakepit._ipc.sections import Bytes

RECORD_BYTES = 16 * 1024 + 256
"""The longest record of TLS, with what it has beside its content."""

READ_BYTES = 64 * 1024
SEALED_BYTES = 64 * 1024
"""At most so much is in our hands that the kernel has not taken yet."""

TURN_BYTES = 256 * 1024
"""Read at once, however much the other end sends."""

STRANGERS_BYTES = 4 * 1024
STRANGERS_IDLE_BYTES = 8 * 1024
"""What is read at once, and may come without any content, of whoever has shown no ticket yet: 300 new keys are 5 ms."""

SLICE_RECORDS = 100
"""Of what has come, so many records are opened at a time, and looked at for content. They are counted, and not their bytes: to open large
ones bit by bit costs half as much again."""

HEAD_BYTES = 5
"""Of a record. The last two are how many come after it."""

IDLE_BYTES = 4 * 1024
"""What may come without any content, beside a record that isn't whole yet: with those of a slice 250 new keys, or 5 ms."""

RECORD_WORK_BYTES = 1024
"""To open a record is as much work as to copy so many bytes: it counts for a turn, beside what is in it."""

BESIDE_BYTES = {"TLSv1.3": 22}
"""Of a record, beside its content: head, kind and seal. Exactly so many, or new keys could be had for records that say little."""

MOST_BESIDE_BYTES = 80
"""With TLS 1.2, which has no new keys, it depends on the cipher."""

CONTENT_SHIFT = 6
"""For 64 bytes of content TLS may say one more of itself: 2^20 of them are good for 600 new keys."""


class _Idle:
    """How much more TLS may say of itself. Without a bound, new keys without end keep a reader busy that never gets to read."""

    __slots__ = ("_beside", "_most", "left")

    def __init__(self, most: int, version: str | None = None) -> None:
        self.left = self._most = most
        self._beside = BESIDE_BYTES.get(version or "", MOST_BESIDE_BYTES)

    def came(self, sealed: int, content: int, records: int, begun: int = 0) -> None:
        """So many bytes have been opened, `begun` of them of a record that isn't whole, and so much was in so many records. Raises
        ConnectionAbortedError."""
        earned = content + (content >> CONTENT_SHIFT) + records * self._beside
        self.left = min(self._most, self.left + earned - sealed)
        if self.left + begun < 0:
            raise ConnectionAbortedError("the other end talks TLS, and says nothing")


class _Records:
    """Where the records begin in what comes, by their heads: OpenSSL, which opens them, goes by the same."""

    __slots__ = ("_head", "_left", "_size")

    def __init__(self) -> None:
        self._head = b""
        self._left = self._size = 0

    @property
    def begun(self) -> int:
        """Bytes that have come of a record that isn't whole."""
        return self._size - self._left if self._left else len(self._head)

    def some(self, data: Bytes, at: int, most: int = SLICE_RECORDS) -> int:
        """Where the next so many end that begin from there on, or what has come. What is before that is not to be given again."""
        size, begun = len(data), 0
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            if begun == most:
                break
            taken = HEAD_BYTES - len(self._head)
            self._head += bytes(data[at : at + taken])
            at += taken
            if len(self._head) < HEAD_BYTES:
                return size
            self._left, self._head = int.from_bytes(self._head[3:], "big"), b""
            self._size = HEAD_BYTES + self._left
            begun += 1
        return min(at, size)


class Secured:
    """`sock` is connected and does not block. What a bulk lane needs of a socket is here under its own name."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None = None) -> None:
        """`name`: whom the other end's certificate must name; None: this end was dialled."""
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=name is None, server_hostname=name)
        self.records = _Records()
        self._unopened = memoryview(b"")
        # Of the slice that is being opened: its bytes, and what has been found in it.
        self._slice = self._content = self._count = 0
        self._unsent = memoryview(b"")
        self._sealed = 0
        self.beside = 0
        """What the last `recv_into` counts for beside its bytes: records are work, too."""
        self._strange, self._idle = _Idle(STRANGERS_IDLE_BYTES), _Idle(IDLE_BYTES)

    async def handshake(self) -> None:
        """Raises OSError: ssl.SSLError is one."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._answer()
                await self._hear()
            except ssl.SSLError:
                await self._answer()  # What is wrong, for the other end.
                raise
            else:
                await self._answer()
                self._idle = _Idle(IDLE_BYTES, self.tls.version())
                return

    async def receive(self, size: int) -> bytes:
        """What has come, at least a byte; empty: the other end has hung up."""
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                return b""
            try:
                self._strange.came(await self._hear(), 0, 0)
                await asyncio.sleep(0)  # What is there is read at once: it is others' turn before it is opened.
            except ConnectionError:
                return b""

    async def send_all(self, data: bytes) -> None:
        self.tls.write(data)
        await self._answer()

    async def _answer(self) -> None:
        if self.outgoing.pending:
            await asyncio.get_running_loop().sock_sendall(self.sock, self.outgoing.read())

    async def _hear(self) -> int:
        data = await asyncio.get_running_loop().sock_recv(self.sock, STRANGERS_BYTES)
        if not data:
            raise ConnectionResetError("the other end hung up on TLS")
        self.records.some(data, 0, len(data))
        return self.incoming.write(data)

    # ---- as a socket that does not block

    def fileno(self) -> int:
        return self.sock.fileno()

    def setblocking(self, flag: bool) -> None:
        self.sock.setblocking(flag)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self.sock.setsockopt(level, name, value)

    def close(self) -> None:
        self.sock.close()

    def recv(self, _size: int, _flags: int) -> bytes:
        """To see whether anything has come: nothing is taken away. Raises BlockingIOError."""
        come = self.tls.pending() or self.incoming.pending or self._unopened
        return b"?" if come else self.sock.recv(1, socket.MSG_PEEK)

    def recv_into(self, view: memoryview) -> int:
        """What has come, 0 at the end. Raises BlockingIOError, and ssl.SSLError for what is no TLS, or ConnectionAbortedError."""
        size, work, most = 0, 0, min(len(view), TURN_BYTES)
        read_into = cast(Callable[[int, memoryview], int], self.tls.read)
        while size < most and size + work < TURN_BYTES:
            try:
                records = 0 if self.tls.pending() else 1
                came = read_into(most - size, view[size:most])
                self._content += came
                self._count += records
                size += came
                work += records * RECORD_WORK_BYTES
                if not came:  # A farewell: nothing comes after it, and it is read again and again.
                    break
            except ssl.SSLWantReadError:
                if not self._more(size):
                    break
            except ssl.SSLZeroReturnError:
                break
        self.beside = work
        return size

    def _more(self, size: int) -> int:
        """Bytes that can be opened; 0: there are none now. Raises BlockingIOError where nothing has come before either."""
        self._idle.came(self._slice, self._content, self._count, self.records.begun)
        self._slice = self._content = self._count = 0
        if not self._unopened:
            try:
                self._unopened = memoryview(self.sock.recv(READ_BYTES))
            except BlockingIOError:
                if not size:
                    raise
                return 0
        end = self.records.some(self._unopened, 0)
        some, self._unopened = self._unopened[:end], self._unopened[end:]
        self._slice = self.incoming.write(some)
        return self._slice

    def sendmsg(self, parts: Sequence[Bytes], _ancillary: tuple[()] = (), _flags: int = 0) -> int:
        """So many of the bytes have been sent. After a BlockingIOError the same bytes are to be given again: some may be under way."""
        if not self._sealed:
            self._sealed = self._seal(parts)
        self._flush()
        size, self._sealed = self._sealed, 0
        return size

    def send(self, data: bytes) -> int:
        return self.sendmsg((data,))

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        """As `sendmsg`, from a file; 0: it has ended."""
        data = b"" if self._sealed else os.pread(descriptor, min(size, SEALED_BYTES), at)
        return self.sendmsg((data,)) if data or self._sealed else 0

    def _seal(self, parts: Sequence[Bytes]) -> int:
        size = 0
        for part in parts:
            if some := memoryview(part)[: SEALED_BYTES - size]:
                size += self.tls.write(some)
        return size

    def _flush(self) -> None:
        while self._unsent or self.outgoing.pending:
            self._unsent = self._unsent or memoryview(self.outgoing.read())
            self._unsent = self._unsent[self.sock.send(self._unsent) :]


class SecuredTransport(asyncio.Transport, asyncio.Protocol):
    """Between the transport of the bare connection and `user`, to whom it is a transport itself. `on_read` is told how many bytes came in
    one go, after `user` has what was in them: that may be little.

    Nothing waits here but a record that has come in part: how full the connection is, is what the bare transport says.
    """

    def __init__(self, secured: Secured, user: asyncio.Protocol, on_read: Callable[[int], None]) -> None:
        super().__init__()
        self._tls, self._incoming, self._outgoing, self._records = secured.tls, secured.incoming, secured.outgoing, secured.records
        self._user, self._on_read = user, on_read
        self._idle = _Idle(IDLE_BYTES, self._tls.version())
        self._bare: asyncio.Transport

    # ---- for the bare transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._bare = cast(asyncio.Transport, transport)
        self._user.connection_made(self)
        self.data_received(b"")  # What came with the end of the handshake.

    def data_received(self, data: bytes) -> None:
        """What is in it goes on in one go, as from the bare connection: by that `user` knows how long it has had its turn."""
        came: list[bytes] = []
        at_end = False
        try:
            at = self._records.some(data, 0)
            at_end = self._open(data[:at], came)
            while at < len(data):
                begin, at = at, self._records.some(data, at)
                at_end = self._open(data[begin:at], came)
        except OSError as error:
            self._give(came)
            self._user.connection_lost(error)
            self._bare.abort()
            return
        if self._outgoing.pending:
            self._bare.write(self._outgoing.read())
        self._give(came)
        self._on_read(len(data))
        if at_end:
            self._user.eof_received()

    def _open(self, data: bytes, came: list[bytes]) -> bool:
        """Put what is in it behind `came`. True: the other end has said farewell. Raises ssl.SSLError, ConnectionAbortedError."""
        self._incoming.write(data)
        first, at_end = len(came), False
        try:
            while self._tls.pending() or self._incoming.pending:
                came.append(self._tls.read(READ_BYTES))
                if not came[-1]:  # A farewell. What comes after it is nobody's, and is never read.
                    at_end = True
                    self._incoming.read()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            at_end = True
            self._incoming.read()
        self._idle.came(len(data), sum(map(len, came[first:])), len(came) - first, self._records.begun)
        return at_end

    def _give(self, came: list[bytes]) -> None:
        if content := b"".join(came):
            self._user.data_received(content)

    def eof_received(self) -> bool | None:
        return self._user.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._user.connection_lost(error)

    def pause_writing(self) -> None:
        self._user.pause_writing()

    def resume_writing(self) -> None:
        self._user.resume_writing()

    # ---- for the user

    def write(self, data: Any) -> None:
        self._tls.write(data)
        self._bare.write(self._outgoing.read())

    def write_eof(self) -> None:
        self._bare.write_eof()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._bare.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._bare.pause_reading()

    def resume_reading(self) -> None:
        self._bare.resume_reading()

    def is_closing(self) -> bool:
        return self._bare.is_closing()

    def close(self) -> None:
        self._bare.close()

    def abort(self) -> None:
        self._bare.abort()
