"""Large results on their way. Their tool has ended and its slot is free; their bytes still go from the agent's pipe to the caller.

A caller that takes pieces is answered at once and fetches them, by the call's id. For one that doesn't, they are collected, as far as
one message may be. A transfer counts among the router's open calls, so that a replica that stops finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole import take_whole
from snakepit_control_plane.model.call import Call, result_frame
from snakepit_control_plane.model.capsule import Capsule

if TYPE_CHECKING:
    from snakepit_control_plane.flow.dispatcher import Dispatcher


class Transfers:
    """One for each router."""

    def __init__(self, router: Dispatcher) -> None:
        self._router = router
        self._open: dict[str, tuple[Call, Stream]] = {}
        self._collecting: dict[Call, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def sink(self, call: Call) -> Stream:
        """Where the bytes of a call's large result go; its pipe may open before its Result comes."""
        if not isinstance(call.sink, Stream):
            idle = call.home.spec.call.stream_idle_seconds if call.home is not None else 60.0
            call.sink = Stream(idle_seconds=idle)
        return call.sink

    def begin(self, capsule: Capsule, call: Call, frame: link_pb2.Frame) -> None:
        """The call's Result says that its payload comes in pieces."""
        id_, stream = frame.result.id, self.sink(call)
        capsule.trailing[id_] = call
        stream.on_close = lambda: self._gone(capsule, id_)
        stream.await_pipe()
        if not call.takes_pieces or (call.inner and sum(frame.result.pieces.sections) <= self._router.limits.kept_result[0]):
            self._collecting[call] = asyncio.create_task(self._collect(call, stream, frame), name=f"result of call {call.call_id}")
            return
        if call.call_id in self._open:
            stream.abandon()  # Somebody uses ids twice: the first one keeps its own.
        else:
            self._open[call.call_id] = call, stream
            self._router.open_calls += 1
            stream.on_close = lambda: self._end(capsule, id_, call.call_id)
        self._router.close(call, frame)

    def give_up(self, call: Call) -> None:
        """Its result is an error, though the pipe for a large one may be open."""
        if isinstance(call.sink, Stream) and not call.is_stream and not call.closed:
            call.sink.abandon()

    def find(self, call_id: str) -> Stream | None:
        """For the caller, who knows the id."""
        found = self._open.get(call_id)
        return found[1] if found is not None else None

    def abandon(self, callers: Callable[[Call], bool]) -> None:
        """Those callers have gone."""
        for call, stream in list(self._open.values()):
            if callers(call):
                stream.abandon()

    def closed(self, call: Call) -> None:
        """The call, which has a sink, is closed: by its deadline or its caller, perhaps, while its result was being collected."""
        if call.is_stream:
            if call.worker is not None:
                call.worker.capsule.trailing.pop(call.request.id, None)
        elif (collecting := self._collecting.pop(call, None)) is not None:
            collecting.cancel()

    async def _collect(self, call: Call, stream: Stream, frame: link_pb2.Frame) -> None:
        try:
            chunk = await take_whole(stream, self._router.limits.max_payload_bytes)
            frame.result.payload.CopyFrom(chunk.payload)
            frame.result.ClearField("pieces")
        except SnakepitError as error:
            frame = result_frame(call, error)
        finally:
            stream.abandon()
        del self._collecting[call]
        self._router.close(call, frame)

    def _gone(self, capsule: Capsule, id_: int) -> None:
        capsule.trailing.pop(id_, None)

    def _end(self, capsule: Capsule, id_: int, call_id: str) -> None:
        self._gone(capsule, id_)
        del self._open[call_id]
        self._router.ended()
