"""One end of a link: a bidirectional gRPC stream, with a lane beside it (see `lane`).

Everything queued in one event-loop turn is sent as one message. The same class serves at both ends, and either end may call and serve:
a link only moves frames, in order. What a frame means is decided by whoever owns the link. Nothing awaits per frame: `send` queues,
arriving frames are handed over in batches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from snakepit._wire.channels import MOST_FRAMES
from snakepit._wire.lane import Lane
from snakepit._wire.stream_lane import StreamLane
from snakepit.v1 import link_pb2

MESSAGE_BYTES = 1024 * 1024
"""A coalesced message is closed when it has this size, so that one message can't hold up the link; one frame may be larger."""

OUTBOX_BYTES = 64 * 1024 * 1024
"""A peer that leaves this much unread is cut off: the link closes."""

EAGER = 8
"""So many queued frames leave at once, not only when the turn of the loop ends: the peer starts on them while we go on. After them, in
the same turn, twice as many do, and so on: a few calls don't wait for each other, and many still travel together."""

KINDS = 32
"""So many kinds of frames that are passed over are named in the log."""

LOOKED_AT = 100
"""So many frames of unknown kinds are looked at, for that."""

FAREWELL_SECONDS = 2.0
"""A dialling end that has written its last frame waits this long for the peer to have read it: hanging up at once could drop it."""

OnFrames = Callable[["Link", Sequence[link_pb2.Frame]], None]

_PONG = link_pb2.Frame(pong=link_pb2.Pong())

log = logging.getLogger(__name__)

_TAG = 0x0A
"""Of `frames` in LinkRequest and LinkResponse: a message is its frames, each with this and its length before it."""


class LinkClosed(ConnectionError):
    """The link is closed; what was queued and not written may or may not have arrived."""


class Link:
    """Moves frames until either side ends it, over what `use` says.

    `on_frames` gets every batch that arrives, synchronously; an exception in it closes the link, because a link that lost a frame must
    not go on. `outbox_bytes`: instead of OUTBOX_BYTES.
    """

    def __init__(self, on_frames: OnFrames, *, name: str = "link", outbox_bytes: int = 0) -> None:
        self.name = name
        self._on_frames = on_frames
        self._outbox_bytes = outbox_bytes or OUTBOX_BYTES
        self._queued: list[bytes] = []
        self._queued_bytes = 0
        self._eager = EAGER
        self._flush_due = False
        self._closed: asyncio.Future[None] | None = None
        self._lane: Lane | StreamLane | None = None
        self._stream: asyncio.Future[Any] | None = None
        self._broken = False
        self._closing: str | None = None
        self._last_id = 0
        self._passed_over: set[str] = set()
        self._unknown = 0
        self.heard = self.said = False
        """Something has arrived, or was sent, since somebody last set these to False."""

    @property
    def is_open(self) -> bool:
        return self._closing is None

    @property
    def transport(self) -> str:
        """What its frames take: lane, or stream."""
        return self._lane.name if self._lane is not None else ""

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
            self._flush()
        if self._queued_bytes > self._outbox_bytes:
            self.give_up(f"the peer left {self._queued_bytes} bytes unread")
            raise LinkClosed(f"{self.name} is closed: {self._closing}")

    def pass_over(self, frame: link_pb2.Frame) -> None:
        """A frame that the owner has no use for: the link's own, or from a peer of another version; that is said once for each kind."""
        kind = frame.WhichOneof("kind")
        if kind is None:
            if not frame.ByteSize():
                self._broken = True
                self.close("a frame without anything in it came: no end writes one")
            self._unknown += 1
            if self._unknown > LOOKED_AT:
                return
            kind = _unknown_kind(frame)
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

    def give_up(self, reason: str) -> None:
        """End the link without waiting for its other end, which does not answer."""
        self.close(reason)
        self.abort()

    def _rouse(self) -> None:
        """There is something to be written."""
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

    def use(self, lane: Lane | StreamLane, stream: asyncio.Future[Any] | None = None) -> None:
        """Before `run`: what every frame is to take. `stream`: a read of the gRPC stream beside a lane, with which the link ends too."""
        self._lane, self._stream = lane, stream

    def abort(self) -> None:
        """Whatever has become of `run`, no socket is left open."""
        if self._lane is not None:
            self._lane.abort()

    async def run(self) -> str:
        """Move frames until either end closes; returns the reason. Cancelled, it closes the link: what had come is handed over."""
        lane, over = self._lane, self._stream
        assert lane is not None
        closed = self._closed = asyncio.get_running_loop().create_future()
        if not self.is_open:
            closed.set_result(None)
        try:
            lane.attach(self._take, self._flush)
            self._flush()
            ends = (lane.ended, closed) if over is None else (lane.ended, closed, over)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            self.close(lane.ended.result() if lane.ended.done() else "the peer ended the stream")
            self._flush(last=True)
            await lane.finish(FAREWELL_SECONDS)
        except asyncio.CancelledError:  # The peer's stream broke, say.
            self.close("cancelled")
            await lane.catch_up(FAREWELL_SECONDS)
            raise
        finally:
            self.close("cancelled")
            lane.abort()
            if over is not None:
                over.cancel()
                await asyncio.gather(over, return_exceptions=True)
        return self.close_reason

    def _end_turn(self) -> None:
        self._flush_due = False
        self._eager = EAGER
        self._flush()

    def _flush(self, *, last: bool = False) -> None:
        lane = self._lane
        if lane is None or not lane.is_open or (lane.is_full and not last):
            return
        for part in self._parts():
            lane.write(part)

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
