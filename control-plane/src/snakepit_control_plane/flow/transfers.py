"""Large results on their way. Their tool has ended and its slot is free; their bytes still go from the agent's pipe to the caller.

A caller that takes pieces is answered at once and fetches them, by the call's id. For one that doesn't, they are collected, as far as
one message may be. A transfer counts among the open calls, so that a replica that stops finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from snakepit.errors import SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole_payloads import take_whole
from snakepit_control_plane.model.call import Call, Stage, result_frame
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.quotas import Limits


class Transfers(Stage):
    """One for each replica."""

    def __init__(self, calls: OpenCalls, limits: Limits) -> None:
        self._calls = calls
        self._limits = limits
        self._open: dict[str, tuple[Call, Stream]] = {}
        self._collecting: dict[Call, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._collecting)

    def sink(self, call: Call) -> Stream:
        """Where the bytes of a call's large result go; its pipe may open before its Result comes."""
        if not isinstance(call.sink, Stream):
            idle = call.pool.spec.call.stream_idle_seconds if call.pool is not None else 60.0
            call.sink = Stream(idle_seconds=idle)
        call.sink.reran = call.reruns > 0
        return call.sink

    def take(self, capsule: Capsule, call: Call, frame: link_pb2.Frame) -> bool:
        """A Result of a call that has, or says that it has, bytes beside it. False: it is the call's answer."""
        if call.answered:
            return False
        if frame.result.HasField("pieces"):
            self._begin(capsule, call, frame)
            return True
        if call.request.is_stream and call.sink is not None:
            self._trail(capsule, call, frame.result)
            return True
        if isinstance(call.sink, Stream):
            call.sink.abandon()  # A large result was on its way, and won't come: its worker has died, say.
        return False

    def _begin(self, capsule: Capsule, call: Call, frame: link_pb2.Frame) -> None:
        """The call's Result says that its payload comes in pieces."""
        id_, stream = frame.result.id, self.sink(call)
        capsule.trailing[id_] = call
        stream.on_close = lambda: self._gone(capsule, id_)
        stream.await_pipe()
        asked = call.request
        if not asked.takes_pieces or (asked.leads and sum(frame.result.pieces.sections) <= self._limits.kept_result[0]):
            call.passes(self)
            self._collecting[call] = asyncio.create_task(self._collect(call, stream, frame), name=f"result of call {call.call_id}")
            return
        if call.call_id in self._open:
            stream.abandon()  # Somebody uses ids twice: the first one keeps its own.
        else:
            self._open[call.call_id] = call, stream
            self._calls.to_fetch()
            stream.on_close = lambda: self._end(capsule, id_, call.call_id)
        self._calls.answer(call, frame)

    def _trail(self, capsule: Capsule, call: Call, result: link_pb2.Result) -> None:
        """A stream's slot is free; its chunks have their own way, and may still be on it. Its sink answers the call."""
        call.passes(self)
        call.ran = result.run_seconds
        capsule.trailing[result.id] = call
        assert call.sink is not None
        call.sink.heard_all()
        if result.WhichOneof("outcome") == "error":
            call.sink.fail(result.error)

    def find(self, call_id: str, subject: str) -> Stream | None:
        """For whose call it is, and nobody else."""
        found = self._open.get(call_id)
        return found[1] if found is not None and found[0].request.who.sender == subject else None

    def abandon(self, callers: Callable[[Call], bool]) -> None:
        """Those callers have gone."""
        for call, stream in list(self._open.values()):
            if callers(call):
                stream.abandon()

    def hand_over(self, call: Call, heir: Call) -> None:
        """The large result of `call` goes to the caller of `heir`, on whose behalf it ran, and who knows it by the same call_id."""
        heir.sink = call.sink
        if (found := self._open.get(call.call_id)) is not None:
            self._open[call.call_id] = heir, found[1]

    def ended(self, call: Call, now: float) -> None:
        """By its deadline or its caller, perhaps, while its result was being collected, or its chunks were on their way."""
        if call.request.is_stream:
            if call.worker is not None:
                call.worker.capsule.trailing.pop(call.message.id, None)
        elif (collecting := self._collecting.pop(call, None)) is not None:
            collecting.cancel()

    async def _collect(self, call: Call, stream: Stream, frame: link_pb2.Frame) -> None:
        try:
            chunk = await take_whole(stream, self._limits.max_payload_bytes)
            frame.result.payload.CopyFrom(chunk.payload)
            frame.result.ClearField("pieces")
        except SnakepitError as error:
            frame = result_frame(call, error)
        finally:
            stream.abandon()
        del self._collecting[call]
        self._calls.answer(call, frame)

    async def stop(self) -> None:
        """What is being collected has no caller any more."""
        tasks = list(self._collecting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _gone(self, capsule: Capsule, id_: int) -> None:
        capsule.trailing.pop(id_, None)

    def _end(self, capsule: Capsule, id_: int, call_id: str) -> None:
        self._gone(capsule, id_)
        del self._open[call_id]
        self._calls.fetched()
