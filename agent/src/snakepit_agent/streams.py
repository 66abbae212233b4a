"""Which running call streams into which pipe, and when its Result follows. The pipe itself is in `pipes`; slots are not its business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from snakepit.link.dial import Replica
from snakepit.local.frames import Credit, Payload, ToWorker
from snakepit.v1 import link_pb2
from snakepit_agent.pipes import Pipe
from snakepit_agent.slots import HeldCall
from snakepit_agent.translate import Outcome, chunk_to_wire

Tell = Callable[[str, ToWorker], None]
SendResult = Callable[[str, link_pb2.Frame, float], None]


@dataclass
class _Stream:
    call: HeldCall
    pipe: Pipe | None = None
    next_index: int = 0
    broken: bool = False
    result: link_pb2.Frame | None = None


class Streams:
    """`replica` finds a link's channel; `tell` gives a frame to a worker; `send_result` ends a call on the link.

    `consumer_went` is told of a running call that nobody listens to any more.
    """

    def __init__(
        self,
        capsule_incarnation: Callable[[], str],
        idle_seconds: float,
        replica: Callable[[str], Replica | None],
        tell: Tell,
        send_result: SendResult,
        consumer_went: Callable[[HeldCall], None],
    ) -> None:
        self._capsule_incarnation = capsule_incarnation
        self._idle_seconds = idle_seconds
        self._replica = replica
        self._tell = tell
        self._send_result = send_result
        self._consumer_went = consumer_went
        self._streams: dict[int, _Stream] = {}

    def chunk(self, call: HeldCall, payload: Payload) -> None:
        """The tool yielded."""
        stream = self._of(call)
        if not stream.broken:
            self._push(stream, payload, last=False)

    def finish(self, call: HeldCall, outcome: Outcome, result: link_pb2.Frame) -> None:
        """The call has ended with `outcome`; `result` follows when the consumer has everything, or at once when it has gone."""
        stream = self._of(call)
        if stream.broken:
            del self._streams[call.id]
            self._send_result(call.replica, result, time.monotonic())
            return
        stream.result = result
        self._push(stream, outcome, last=True)

    async def close(self) -> None:
        """Give up on what is still on its way."""
        for stream in list(self._streams.values()):
            if stream.pipe is not None:
                stream.pipe.abort()

    async def settle(self) -> None:
        """Wait until every consumer has what its tool has said, or has gone."""
        await asyncio.gather(*[stream.pipe.task for stream in self._streams.values() if stream.pipe], return_exceptions=True)

    def _of(self, call: HeldCall) -> _Stream:
        stream = self._streams.get(call.id)
        if stream is None:
            stream = self._streams[call.id] = _Stream(call)
            self._open(stream)
        return stream

    def _open(self, stream: _Stream) -> None:
        call = stream.call
        replica = self._replica(call.replica)
        if replica is None:
            self._break(stream)
            return

        def taken(chunks: int) -> None:
            self._tell(call.incarnation, Credit(call.id, chunks))

        def ended(why: str) -> None:
            self._ended(stream, why)

        stream.pipe = Pipe(replica.channel, call.remote, self._capsule_incarnation(), self._idle_seconds, taken, ended)

    def _push(self, stream: _Stream, outcome: Outcome, *, last: bool) -> None:
        assert stream.pipe is not None
        stream.pipe.push(chunk_to_wire(stream.next_index, outcome, last=last))
        stream.next_index += 1

    def _ended(self, stream: _Stream, why: str) -> None:
        if stream.result is not None:
            del self._streams[stream.call.id]
            self._send_result(stream.call.replica, stream.result, time.monotonic())
        elif why:
            self._break(stream)

    def _break(self, stream: _Stream) -> None:
        stream.broken = True
        self._consumer_went(stream.call)
