"""Framing of the three local channels: packets with descriptors, one call a packet, and batches on a stream.

Both the agent and the author's container use it, so it needs msgspec and nothing else. It moves frames; it decides nothing, and
it never changes a socket's blocking mode, which copies of a descriptor share: who must not wait passes `MSG_DONTWAIT`.
"""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from snakepit._ipc.frames import Payload
from snakepit._ipc.sections import Bytes, fill, total, views
from snakepit._ipc.worker import INLINE_BYTES, CallFrame, FromWorker, ToWorker

MAX_PACKET = INLINE_BYTES * 2
"""Bytes that a reader provides for one packet; a control frame may carry a traceback. No system's default lets less be written."""

MAX_DESCRIPTORS = 8
_MOST_WORDS = 200
MAX_MESSAGE = 16 * 1024 * 1024
"""A longer message on an outbox means that the two ends lost step, or that one wants to fill the other's memory."""

_LENGTH = struct.Struct(">I")
_BATCH_HEAD = struct.Struct(">IBH")  # its length, and msgpack's head of an array of up to 65,535
_ARRAY_16 = 0xDC
_ID = struct.Struct("<Q")
_ANCILLARY = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
# Plain numbers: combining the enum's members costs more than the system call.
DONTWAIT = int(socket.MSG_DONTWAIT)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_AT_ONCE = DONTWAIT | _NOSIGNAL
_RECEIVE = int(socket.MSG_CMSG_CLOEXEC)
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class _ReadBuffer(threading.local):
    """Where packets are read to: asking for so much memory anew at each read costs ten times the read."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(MAX_PACKET))


_read_buffer = _ReadBuffer()

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
_calls = msgspec.msgpack.Decoder(CallFrame)
_from_worker: msgspec.msgpack.Decoder[list[FromWorker]] = msgspec.msgpack.Decoder(list[FromWorker])
_to_worker: msgspec.msgpack.Decoder[list[ToWorker]] = msgspec.msgpack.Decoder(list[ToWorker])

F = TypeVar("F")


class FramingError(Exception):
    """The other end sent what is no frame of ours: the channel is of no more use."""


class Packet(NamedTuple):
    """The reader owns `descriptors` and closes them."""

    data: bytes
    descriptors: list[int]


# ---- packets (control socket and inbox)


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected `SOCK_SEQPACKET` ends, for an inbox."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def stream_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected `SOCK_STREAM` ends, for an outbox."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def send_packet(sock: socket.socket, data: bytes, descriptors: Sequence[int] = (), flags: int = 0) -> None:
    """One packet, with copies of `descriptors`. BlockingIOError: full (with MSG_DONTWAIT); OSError: nobody reads any more."""
    if descriptors:
        # Not socket.send_fds, which forgets the flags, and so waits for room.
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))], flags | _NOSIGNAL)
    else:
        sock.send(data, flags | _NOSIGNAL)


def recv_packet(sock: socket.socket, flags: int = 0) -> Packet | None:
    """The next packet; None at the end. Descriptors close on exec. BlockingIOError: nothing there (with MSG_DONTWAIT)."""
    size, ancillary, happened, _ = sock.recvmsg_into([_read_buffer.view], _ANCILLARY, flags | _RECEIVE)
    return _packet(size, ancillary, happened)


def _packet(size: int, ancillary: list[tuple[int, int, bytes]], happened: int) -> Packet | None:
    """Make a packet of what lies in this thread's buffer."""
    descriptors = _descriptors(ancillary) if ancillary else []
    if happened & _CUT:
        close_all(descriptors)
        raise FramingError(f"a packet is larger than {MAX_PACKET} bytes or carries more than {MAX_DESCRIPTORS} descriptors")
    return Packet(bytes(_read_buffer.view[:size]), descriptors) if size else None


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def close_all(descriptors: Iterable[int]) -> None:
    """Close what nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)


# ---- decoding


def decode(decoder: msgspec.msgpack.Decoder[F], data: bytes | memoryview | mmap.mmap) -> F:
    """Whatever bytes come: a frame, or FramingError."""
    try:
        return decoder.decode(data)
    except (ValueError, RecursionError) as error:  # of msgspec's own, of text that is no UTF-8, of what is nested without end
        raise FramingError(f"not a frame of this channel: {str(error)[:_MOST_WORDS]}") from error


# ---- inbox


def send_call(inbox: socket.socket, call: CallFrame, descriptor: int = -1) -> bool:
    """Write a call into an inbox without waiting; False: it is full. A large one goes as a sealed memfd, so that any packet fits.

    `descriptor`: where the bytes of a call with `sections` are; it stays the caller's. ConnectionError: nobody reads. Any other
    OSError: this call can't be written, because memory or descriptors are short.
    """
    data = _encoder.encode(call)
    if len(data) <= INLINE_BYTES and not call.sections:
        try:
            inbox.send(data, _AT_ONCE)
        except BlockingIOError:
            return False
        return True
    beside = (descriptor,) if call.sections else ()
    if len(data) <= INLINE_BYTES:
        return _send_or_full(inbox, data, beside)
    whole = seal_memfd(data)
    try:
        return _send_or_full(inbox, _encoder.encode(CallFrame(call.id, "", "", Payload(b""), memfd=True)), (whole, *beside))
    finally:
        os.close(whole)


def _send_or_full(inbox: socket.socket, data: bytes, descriptors: Sequence[int]) -> bool:
    try:
        send_packet(inbox, data, descriptors, DONTWAIT)
    except BlockingIOError:
        return False
    return True


def recv_call(inbox: socket.socket, flags: int = 0) -> CallFrame | None:
    """Take the next call off an inbox; None at the end. Failures as `recv_packet`, and FramingError."""
    buffer = _read_buffer.view
    size, ancillary, happened, _ = inbox.recvmsg_into([buffer], _ANCILLARY, flags | _RECEIVE)
    if not ancillary and not happened & _CUT:
        # Nearly every call: decoded where it lies.
        return decode(_calls, buffer[:size]) if size else None
    packet = _packet(size, ancillary, happened)
    if packet is None:
        return None
    try:
        call, descriptor = _unpacked(packet)
        if not call.sections:
            return call
        try:
            arguments = fill(call.arguments, mapped(descriptor, call.sections))
        except ValueError as error:
            raise FramingError(f"a call's sections are not those of its arguments: {error}") from error
        return msgspec.structs.replace(call, arguments=arguments, sections=())
    finally:
        close_all(packet.descriptors)


def take_back_call(inbox_reader: socket.socket) -> tuple[CallFrame, int] | None:
    """Take back a call that its worker has not read, without waiting; None: there is none.

    With it its descriptor, if it has `sections`, which is then the caller's; else -1.
    """
    try:
        packet = recv_packet(inbox_reader, DONTWAIT)
    except BlockingIOError:
        return None
    if packet is None:
        return None
    kept = -1
    try:
        call, kept = _unpacked(packet)
        return call, kept
    finally:
        close_all(each for each in packet.descriptors if each != kept)


def _unpacked(packet: Packet) -> tuple[CallFrame, int]:
    """The call, and which of the packet's descriptors has its sections; -1: it has none."""
    beside = list(packet.descriptors)
    call = decode(_calls, packet.data)
    try:
        if call.memfd:
            with read_memfd(beside.pop(0)) as whole:
                call = decode(_calls, whole)
        return call, beside.pop(0) if call.sections else -1
    except (IndexError, ValueError, OSError) as error:
        raise FramingError(f"what should lie beside a call does not: {error}") from error


def hand_over(inbox_reader: socket.socket, id_: int, descriptor: int) -> None:
    """A worker gives the agent the memfd of a result of call `id_`; waits while the agent takes none. OSError: the agent has gone."""
    send_packet(inbox_reader, _ID.pack(id_), (descriptor,))


def take_over(inbox: socket.socket) -> tuple[int, int] | None:
    """What `hand_over` gave: a call's id and a descriptor. None: nothing is there."""
    try:
        packet = recv_packet(inbox, DONTWAIT)
    except BlockingIOError:
        return None
    if packet is None:
        return None
    if len(packet.data) != _ID.size or len(packet.descriptors) != 1:
        close_all(packet.descriptors)
        raise FramingError("a worker handed over what is no memfd of a result")
    return _ID.unpack(packet.data)[0], packet.descriptors[0]


# ---- outbox


def encode_batch(frames: Sequence[FromWorker] | Sequence[ToWorker]) -> bytes:
    """One message of an outbox: a length, and everything that the sender had to say."""
    data = _encoder.encode(frames)
    return _LENGTH.pack(len(data)) + data


BATCH_HEAD = _BATCH_HEAD.size
"""Where the frames of a message begin that is written in place: encoded one by one, in a row."""


def write_batch_head(message: mmap.mmap, end: int, count: int) -> None:
    """Make a message of the `count` frames that lie in it up to `end`."""
    _BATCH_HEAD.pack_into(message, 0, end - _LENGTH.size, _ARRAY_16, count)


def one_batch(data: bytes) -> list[FromWorker]:
    """The frames of the message that `data` begins with. Raises FramingError."""
    length = int.from_bytes(data[: _LENGTH.size], "big")
    return decode(_from_worker, data[_LENGTH.size : _LENGTH.size + length])


class OutboxBuffer(Generic[F]):
    """Turns what a stream happens to deliver into frames, in order."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[list[F]]) -> None:
        self._decoder = decoder
        self._data = bytearray()

    def feed(self, data: bytes) -> list[F]:
        """The frames that `data` completes. Raises FramingError."""
        unread = self._data
        if unread:
            unread += data
            data = unread  # type: ignore[assignment]
        frames: list[F] = []
        begin = _LENGTH.size
        while begin <= len(data):
            (length,) = _LENGTH.unpack_from(data, begin - _LENGTH.size)
            if length > MAX_MESSAGE:
                raise FramingError(f"a message of {length} bytes is over the limit of {MAX_MESSAGE}")
            end = begin + length
            if end > len(data):
                break
            with memoryview(data) as whole, whole[begin:end] as message:
                batch: list[F] = decode(self._decoder, message)
            frames += batch
            begin = end + _LENGTH.size
        if unread:
            del unread[: begin - _LENGTH.size]
        else:
            unread += data[begin - _LENGTH.size :]
        return frames


def worker_frames() -> OutboxBuffer[FromWorker]:
    """Make the buffer for the agent's side of an outbox."""
    return OutboxBuffer(_from_worker)


def agent_frames() -> OutboxBuffer[ToWorker]:
    """Make the buffer for the worker's side of an outbox."""
    return OutboxBuffer(_to_worker)


# ---- large calls


def seal_memfd(*parts: Bytes) -> int:
    """A descriptor of anonymous memory with `parts` in it, of a size that stays. The caller closes it."""
    descriptor = open_memfd()
    try:
        for part in parts:
            view = memoryview(part)
            while len(view):
                view = view[os.write(descriptor, view) :]
        seal(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_memfd(name: str = "snakepit") -> int:
    """Anonymous memory to be written and sealed."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(descriptor: int) -> None:
    """Its size stays, so that whoever maps it can't be killed by whoever filled it.

    Not its bytes: for that the kernel waits until nobody else holds one of its pages, and refuses after a while.
    """
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)


def read_memfd(descriptor: int) -> mmap.mmap:
    """The content of a sealed memfd, mapped, not copied; the map outlives the descriptor."""
    return mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ)


def mapped(descriptor: int, sections: Sequence[int]) -> list[memoryview]:
    """A layout's sections in a sealed memfd, not copied, read-only. Raises FramingError when it is shorter than they are, or not sealed."""
    check_memfd(descriptor, total(sections))
    return views(memoryview(read_memfd(descriptor)), sections)


def check_held(descriptor: int, skeleton: Payload, sections: Sequence[int]) -> None:
    """Does it hold what `skeleton` leaves out, in a memfd that stays as it is? Raises FramingError."""
    if len(sections) != len(skeleton.attachments) + 1 or min(sections) < 0:
        raise FramingError(f"{len(sections)} sections of a payload with {len(skeleton.attachments)} attachments")
    check_memfd(descriptor, total(sections))


def check_memfd(descriptor: int, length: int) -> None:
    size = os.fstat(descriptor).st_size
    if size < length:
        raise FramingError(f"a memfd of {size} bytes should hold {length}")
    if not _is_sealed(descriptor):
        raise FramingError("large payloads come in sealed memfds, and this is none")


def _is_sealed(descriptor: int) -> bool:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    except OSError:
        return False
