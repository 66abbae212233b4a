"""One end of a link: a bidirectional gRPC stream whose writer sends everything queued in one event-loop turn as one message.

The same class serves at both ends, and either end may call and serve: a link only moves frames, in order. What a frame means is
decided by whoever owns the link. Nothing awaits per frame: `send` queues, arriving frames are handed over in batches.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit.v1 import link_pb2

MESSAGE_BYTES = 1024 * 1024
"""A coalesced message is closed when it has this size, so that one message can't hold up the link; one frame may be larger."""

OUTBOX_BYTES = 64 * 1024 * 1024
"""A peer that leaves this much unread is cut off: the link closes."""

__all__ = ["EOF", "Link", "LinkClosed", "OnFrames"]

KINDS = 32
"""So many kinds of frames that are passed over are named in the log."""

FAREWELL_SECONDS = 2.0
"""A dialling end that has written its last frame waits this long for the peer to have read it: hanging up at once could drop it."""

Message = link_pb2.LinkRequest | link_pb2.LinkResponse
OnFrames = Callable[["Link", Sequence[link_pb2.Frame]], None]

log = logging.getLogger(__name__)

_step_aside: Callable[[], None] = getattr(os, "sched_yield", lambda: None)


class LinkClosed(ConnectionError):
    """The link is closed; what was queued and not written may or may not have arrived."""


class Link:
    """Moves frames over one stream until either side ends it.

    `done_writing` half-closes the stream: the dialling end gives it, so that its last frames are read before it hangs up.
    `read` gives the next message or grpc.aio.EOF; `write` sends one: the methods of a grpc.aio call or of a servicer context.
    `message` is the type that this end writes. `on_frames` gets every batch that arrives, synchronously; an exception in it closes
    the link, because a link that lost a frame must not go on.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Any]],
        write: Callable[[Any], Awaitable[Any]],
        message: type[link_pb2.LinkRequest] | type[link_pb2.LinkResponse],
        on_frames: OnFrames,
        *,
        name: str = "link",
        done_writing: Callable[[], Awaitable[Any]] | None = None,
    ) -> None:
        self.name = name
        self._read = read
        self._write = write
        self._message = message
        self._on_frames = on_frames
        self._done_writing = done_writing
        self._queued: list[link_pb2.Frame] = []
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._closing: str | None = None
        self._half_closed = False
        self._last_id = 0
        self._passed_over: set[str] = set()

    @property
    def is_open(self) -> bool:
        return self._closing is None

    @property
    def close_reason(self) -> str:
        """Why the link closed; empty while it is open."""
        return self._closing or ""

    @property
    def unwritten(self) -> Sequence[link_pb2.Frame]:
        """Frames that were queued and never handed to gRPC: after the close, these provably did not arrive."""
        return self._queued

    def next_id(self) -> int:
        """An id for a Call or StateRequest frame, unique among those that this end sends on this link."""
        self._last_id += 1
        return self._last_id

    def send(self, frame: link_pb2.Frame) -> None:
        """Queue a frame. Raises LinkClosed; never blocks."""
        if self._closing is not None:
            raise LinkClosed(f"{self.name} is closed: {self._closing}")
        self._queued.append(frame)
        self._queued_bytes += frame.ByteSize()
        self._wake.set()
        if self._queued_bytes > OUTBOX_BYTES:
            self.close(f"the peer left {self._queued_bytes} bytes unread")
            raise LinkClosed(f"{self.name} is closed: {self._closing}")

    def pass_over(self, frame: link_pb2.Frame) -> None:
        """A frame that this end has no use for, from a peer of another version: said once for each kind, and that is all."""
        kind = frame.WhichOneof("kind") or _unknown_kind(frame)
        if kind not in self._passed_over and len(self._passed_over) < KINDS:
            self._passed_over.add(kind)
            log.warning("%s: frames of kind %s are passed over: the two ends are of different versions", self.name, kind)

    def close(self, reason: str) -> None:
        """End the link: what is queued is still written where possible, then `run` returns."""
        if self._closing is None:
            self._closing = reason
            self._wake.set()

    async def run(self) -> str:
        """Move frames until either end closes; returns the reason. Cancelling it closes the link at once."""
        reader = asyncio.create_task(self._read_all(), name=f"{self.name} reader")
        writer = asyncio.create_task(self._write_all(), name=f"{self.name} writer")
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if self._half_closed:
                await asyncio.wait((reader,), timeout=FAREWELL_SECONDS)
        finally:
            self.close("cancelled")
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
        return self.close_reason

    async def _read_all(self) -> None:
        try:
            while True:
                message = await self._read()
                if message is EOF:
                    self.close("the peer ended the stream")
                    return
                self._on_frames(self, message.frames)
        except asyncio.CancelledError:
            raise
        except grpc.RpcError as error:
            self.close(_rpc_reason(error))
        except Exception as error:
            log.exception("%s: a frame could not be handled", self.name)
            self.close(f"a frame could not be handled: {error!r}")

    async def _write_all(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                # A close during the flush sets `wake` again: what was queued before it is flushed in the next round.
                closing = self._closing is not None
                if len(self._queued) > 1:
                    # Under load: whoever else is ready goes first, and what comes of it rides along in the same message.
                    _step_aside()
                    await asyncio.sleep(0)
                await self._flush()
                if closing:
                    await self._half_close()
                    return
        except asyncio.CancelledError:
            raise
        except grpc.RpcError as error:
            self.close(_rpc_reason(error))
        except Exception as error:  # grpc.aio raises several kinds once the stream has ended
            self.close(f"the stream can't be written: {error!r}")

    async def _half_close(self) -> None:
        if self._done_writing is not None:
            await self._done_writing()
            self._half_closed = True

    async def _flush(self) -> None:
        frames, self._queued = self._queued, []
        total, self._queued_bytes = self._queued_bytes, 0
        if total <= MESSAGE_BYTES:
            if frames:
                await self._write(self._message(frames=frames))
            return
        for part in _parts(frames):
            await self._write(self._message(frames=part))


def _parts(frames: Iterable[link_pb2.Frame]) -> Iterable[list[link_pb2.Frame]]:
    """Split a batch into messages of about MESSAGE_BYTES; a larger frame is alone in its message."""
    part: list[link_pb2.Frame] = []
    size = 0
    for frame in frames:
        bytes_ = frame.ByteSize()
        if part and size + bytes_ > MESSAGE_BYTES:
            yield part
            part, size = [], 0
        part.append(frame)
        size += bytes_
    if part:
        yield part


def _unknown_kind(frame: link_pb2.Frame) -> str:
    fields = UnknownFieldSet(frame)
    return f"number {', '.join([str(fields[i].field_number) for i in range(len(fields))]) or 'none'}"


def _rpc_reason(error: grpc.RpcError) -> str:
    code = getattr(error, "code", lambda: None)()
    details = getattr(error, "details", lambda: "")() or ""
    return f"{code.name if code else 'UNKNOWN'}: {details}"
