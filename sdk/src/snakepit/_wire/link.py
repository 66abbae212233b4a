"""One end of a link: a bidirectional gRPC stream, with a lane beside it where one can be had (see `lane`).

Everything queued in one event-loop turn is sent as one message. The same class serves at both ends, and either end may call and serve:
a link only moves frames, in order. What a frame means is decided by whoever owns the link. Nothing awaits per frame: `send` queues,
arriving frames are handed over in batches.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import grpc
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._wire.channels import MOST_FRAMES
from snakepit._wire.lane import Lane
from snakepit.v1 import link_pb2

MESSAGE_BYTES = 1024 * 1024
"""A coalesced message is closed when it has this size, so that one message can't hold up the link; one frame may be larger."""

OUTBOX_BYTES = 64 * 1024 * 1024
"""A peer that leaves this much unread is cut off: the link closes."""

__all__ = ["EOF", "Link", "LinkClosed", "OnFrames"]

EAGER = 8
"""So many queued frames leave at once, not only when the turn of the loop ends: the peer starts on them while we go on. After them, in
the same turn, twice as many do, and so on: a few calls don't wait for each other, and many still travel together."""

KINDS = 32
"""So many kinds of frames that are passed over are named in the log."""

FAREWELL_SECONDS = 2.0
"""A dialling end that has written its last frame waits this long for the peer to have read it: hanging up at once could drop it."""

OnFrames = Callable[["Link", Sequence[link_pb2.Frame]], None]

_PONG = link_pb2.Frame(pong=link_pb2.Pong())

log = logging.getLogger(__name__)

_step_aside: Callable[[], None] = getattr(os, "sched_yield", lambda: None)

_TAG = 0x0A
"""Of `frames` in LinkRequest and LinkResponse: a message is its frames, each with this and its length before it."""


class LinkClosed(ConnectionError):
    """The link is closed; what was queued and not written may or may not have arrived."""


class Link:
    """Moves frames until either side ends it.

    `done_writing` half-closes the stream: the dialling end gives it, so that its last frames are read before it hangs up.
    `read` gives the next message or grpc.aio.EOF; `write` sends one: the methods of a grpc.aio call or of a servicer context.
    `message` is the type that this end writes. `on_frames` gets every batch that arrives, synchronously; an exception in it closes
    the link, because a link that lost a frame must not go on. `outbox_bytes`: instead of OUTBOX_BYTES.
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
        outbox_bytes: int = 0,
    ) -> None:
        self.name = name
        self._read = read
        self._write = write
        self._message = message
        self._on_frames = on_frames
        self._done_writing = done_writing
        self._outbox_bytes = outbox_bytes or OUTBOX_BYTES
        self._queued: list[bytes] = []
        self._queued_bytes = 0
        self._eager = EAGER
        self._flush_due = False
        # What `run` waits for; a replica has thousands of links, so only the one that it needs.
        self._wake: asyncio.Event | None = None
        self._closed: asyncio.Future[None] | None = None
        self._lane: Lane | None = None
        self._stream: asyncio.Future[Any] | None = None
        self._broken = False
        self._closing: str | None = None
        self._half_closed = False
        self._last_id = 0
        self._passed_over: set[str] = set()
        self._given_up = asyncio.Event()
        self.heard = self.said = False
        """Something has arrived, or was sent, since somebody last set these to False."""

    @property
    def is_open(self) -> bool:
        return self._closing is None

    @property
    def has_lane(self) -> bool:
        """Do its frames take a lane, or the stream?"""
        return self._lane is not None

    @property
    def close_reason(self) -> str:
        """Why the link closed; empty while it is open."""
        return self._closing or ""

    @property
    def unwritten(self) -> Sequence[link_pb2.Frame]:
        """Frames that were queued and never handed over to be sent: after the close, these provably did not arrive."""
        return [link_pb2.Frame.FromString(data) for data in self._queued]

    def next_id(self) -> int:
        """An id for a Call or StateRequest frame, unique among those that this end sends on this link."""
        self._last_id += 1
        return self._last_id

    def send(self, frame: link_pb2.Frame) -> None:
        """Queue a frame. Raises LinkClosed; never blocks."""
        self.send_bytes(frame.SerializeToString())

    def send_bytes(self, data: bytes) -> None:
        """As `send`, of a frame that has been serialized."""
        if self._closing is not None:
            raise LinkClosed(f"{self.name} is closed: {self._closing}")
        queued = self._queued
        if not queued:
            self._rouse()
        queued.append(data)
        self.said = True
        self._queued_bytes += len(data)
        if len(queued) >= self._eager and self._lane is not None:
            self._eager *= 2
            self._flush_lane()
        if self._queued_bytes > self._outbox_bytes:
            self.close(f"the peer left {self._queued_bytes} bytes unread")
            raise LinkClosed(f"{self.name} is closed: {self._closing}")

    def pass_over(self, frame: link_pb2.Frame) -> None:
        """A frame that the owner has no use for: the link's own, or from a peer of another version; that is said once for each kind."""
        kind = frame.WhichOneof("kind") or _unknown_kind(frame)
        if kind in ("ping", "pong"):
            if kind == "ping" and self.is_open:
                self.send(_PONG)
            return
        if kind not in self._passed_over and len(self._passed_over) < KINDS:
            self._passed_over.add(kind)
            log.warning("%s: frames of kind %s are passed over: the two ends are of different versions", self.name, kind)

    def close(self, reason: str) -> None:
        """End the link: what is queued is still written where possible, then `run` returns."""
        if self._closing is None:
            self._closing = reason
            if self._closed is not None:
                self._closed.set_result(None)
            if self._wake is not None:
                self._wake.set()

    def give_up(self, reason: str) -> None:
        """End the link without waiting for its other end, which does not answer."""
        self.close(reason)
        self._given_up.set()
        self.abort()

    def _rouse(self) -> None:
        """There is something to be written."""
        if self._wake is not None:
            self._wake.set()
        if self._lane is not None and not self._flush_due and not self._lane.is_full:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _take(self, frames: Sequence[link_pb2.Frame]) -> None:
        if self._broken:
            return
        self.heard = True
        try:
            self._on_frames(self, frames)
        except Exception as error:
            log.exception("%s: a frame could not be handled", self.name)
            self._broken = True
            self.close(f"a frame could not be handled: {error!r}")

    async def run(self) -> str:
        """Move frames until either end closes; returns the reason. Cancelling it closes the link at once."""
        return await (self._run_on_stream() if self._lane is None else self._run_on(self._lane))

    # ---- on the lane

    def use(self, lane: Lane, stream: asyncio.Future[Any] | None = None) -> None:
        """Before `run`: every frame is to take the lane. The link still ends with its stream; `stream`: a read of it that has begun."""
        self._lane, self._stream = lane, stream

    def abort(self) -> None:
        """Whatever has become of `run`, no socket is left open."""
        if self._lane is not None:
            self._lane.abort()

    async def _run_on(self, lane: Lane) -> str:
        over = self._stream or asyncio.ensure_future(self._read())
        closed = self._closed = asyncio.get_running_loop().create_future()
        if not self.is_open:
            closed.set_result(None)
        try:
            lane.attach(self._take, self._flush_lane)
            self._flush_lane()
            await asyncio.wait((lane.ended, over, closed), return_when=asyncio.FIRST_COMPLETED)
            self.close(lane.ended.result() if lane.ended.done() else "the peer ended the stream")
            self._flush_lane(last=True)
            await lane.finish(FAREWELL_SECONDS)
        finally:
            self.close("cancelled")
            lane.abort()
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)
        return self.close_reason

    def _end_turn(self) -> None:
        self._flush_due = False
        self._eager = EAGER
        self._flush_lane()

    def _flush_lane(self, *, last: bool = False) -> None:
        lane = self._lane
        if lane is None or not lane.is_open or (lane.is_full and not last):
            return
        for part in self._parts():
            lane.write(part)

    # ---- on the stream

    async def _run_on_stream(self) -> str:
        reader = asyncio.create_task(self._read_all(), name=f"{self.name} reader")
        writer = asyncio.create_task(self._write_all(), name=f"{self.name} writer")
        given_up = asyncio.create_task(self._given_up.wait(), name=f"{self.name} given up")
        tasks = reader, writer, given_up
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._half_closed:
                await asyncio.wait((reader, given_up), timeout=FAREWELL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.close("cancelled")
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self.close_reason

    async def _read_all(self) -> None:
        try:
            while True:
                message = await self._read()
                if message is EOF:
                    self.close("the peer ended the stream")
                    return
                self._take(message.frames)
                if self._broken:
                    return
        except asyncio.CancelledError:
            raise
        except grpc.RpcError as error:
            self.close(_rpc_reason(error))

    async def _write_all(self) -> None:
        wake = self._wake = asyncio.Event()
        if self._queued or not self.is_open:
            wake.set()
        try:
            while True:
                await wake.wait()
                wake.clear()
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
        for part in self._parts():
            await self._write(self._message.FromString(part))

    def _parts(self) -> list[bytes]:
        """Everything that is queued, as messages of about MESSAGE_BYTES; a larger frame is alone in its message."""
        queued, self._queued = self._queued, []
        total, self._queued_bytes = self._queued_bytes, 0
        if total <= MESSAGE_BYTES and len(queued) <= MOST_FRAMES:
            return [_message(queued)] if queued else []
        parts: list[list[bytes]] = [[]]
        size = 0
        for data in queued:
            if parts[-1] and (size + len(data) > MESSAGE_BYTES or len(parts[-1]) == MOST_FRAMES):
                parts.append([])
                size = 0
            parts[-1].append(data)
            size += len(data)
        return [_message(part) for part in parts]


def _message(frames: Iterable[bytes]) -> bytes:
    """A LinkRequest or LinkResponse of these frames: what protobuf would make of it, without a copy of each."""
    return b"".join([part for data in frames for part in (_head(len(data)), data)])


@lru_cache(4096)
def _head(length: int) -> bytes:
    """Tag and length of a frame in its message (protobuf's encoding: a varint)."""
    head = bytearray((_TAG,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _unknown_kind(frame: link_pb2.Frame) -> str:
    fields = UnknownFieldSet(frame)
    return f"number {', '.join([str(fields[i].field_number) for i in range(len(fields))]) or 'none'}"


def _rpc_reason(error: grpc.RpcError) -> str:
    code = getattr(error, "code", lambda: None)()
    details = getattr(error, "details", lambda: "")() or ""
    return f"{code.name if code else 'UNKNOWN'}: {details}"
