"""Nested calls off an agent's link: each goes to the intake or to a client, and what comes back goes to the agent that asked."""

from __future__ import annotations

import contextlib

from snakepit import _wire as links
from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit._wire.status import to_frame
from snakepit._wire.window import Window
from snakepit.errors import Cancelled, SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.nested import OpenNested, Target
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole import take_whole
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.policy.admission import payload_bytes


class _WorkerCall:
    """One that a worker runs."""

    def __init__(self, calls: OpenCalls, call: Call, window: Window) -> None:
        self._calls = calls
        self._call = call
        self._window = window

    def cancel(self) -> None:
        self._calls.cancel(self._call)

    def taken(self, chunks: int) -> None:
        self._window.taken(chunks)


class _Ask:
    """Where one answer goes."""

    def __init__(self, asking: Asking, id_: int) -> None:
        self._asking = asking
        self._id = id_

    def answer(self, result: link_pb2.Result) -> None:
        self._asking.answer(self._id, result)

    def chunk(self, payload: common_pb2.Payload) -> None:
        self._asking.send(link_pb2.Frame(flow=link_pb2.Flow(id=self._id, chunk=payload)))


class Asking:
    """The nested calls of one agent's link."""

    def __init__(self, flow: Flow, capsule: Capsule, link: links.Link) -> None:
        self._flow = flow
        self._capsule = capsule
        self._link = link
        self._open: dict[int, OpenNested] = {}
        self._tasks = Tasks()

    def __len__(self) -> int:
        return len(self._open) + len(self._tasks)

    def take(self, kind: str | None, frame: link_pb2.Frame) -> bool:
        """A frame of the agent's; False: it is none about nested calls."""
        if kind == "nested_call":
            self._asked(frame.nested_call)
        elif kind == "cancel" and frame.cancel.id in self._open:
            self._open[frame.cancel.id].cancel()
        elif kind == "flow" and frame.flow.id in self._open:
            self._open[frame.flow.id].taken(frame.flow.taken)
        return kind in ("nested_call", "cancel", "flow")

    def closed(self) -> None:
        """The link is gone, and with it whoever waits."""
        for each in list(self._open.values()):
            each.cancel()
        self._tasks.cancel()

    def answer(self, id_: int, result: link_pb2.Result) -> None:
        self._open.pop(id_, None)
        result.id = id_
        self.send(link_pb2.Frame(result=result))

    def send(self, frame: link_pb2.Frame) -> None:
        with contextlib.suppress(LinkClosed):
            self._link.send(frame)

    def _asked(self, nested: link_pb2.NestedCall) -> None:
        call = nested.call
        if call.id in self._open:
            self._link.close(f"two nested calls of this link have the id {call.id}: give each open call an id of its own")
            return
        parent = self._capsule.inflight.get(nested.parent)
        try:
            if parent is None or parent.answered:
                raise Cancelled("the call that asked has ended", started=Started.NO)
            target = self._flow.nested.resolve(parent, call)
            if target.offered is not None:
                id_ = call.id
                self._open[id_] = target.offered.provider.run(call, target, _Ask(self, id_))
            else:
                self._to_worker(parent, call, target)
        except SnakepitError as error:
            self.answer(call.id, link_pb2.Result(call_id=call.call_id, error=to_frame(error)))

    def _to_worker(self, parent: Call, asked: link_pb2.Call, target: Target) -> None:
        flow, now = self._flow, self._flow.clock()
        asked.timeout_seconds = max(0.001, target.until - now)
        frame, window = link_pb2.Frame(call=asked), Window()
        stream = Stream(lambda frame: flow.calls.answer(call, frame)) if asked.stream else None

        def ended(call: Call, frame: link_pb2.Frame) -> None:
            if stream is None:
                self.answer(call.id, frame.result)
            else:
                window.lift()
                stream.reply(call, frame)

        call = flow.intake.open(frame, ended, now, caller=parent.request.caller, sink=stream, nest=target.nest)
        if stream is not None:
            self._tasks.spawn(self._pump(call, stream, window))
        if stream is not None or not call.answered:
            self._open[call.id] = _WorkerCall(flow.calls, call, window)

    async def _pump(self, call: Call, stream: Stream, window: Window) -> None:
        """Pass a worker's stream on, as far as the asker takes it."""
        end = link_pb2.Result(call_id=call.call_id)
        try:
            while not stream.finished:
                await window.room()
                chunk = await take_whole(stream, self._flow.limits.max_payload_bytes)
                kind = chunk.WhichOneof("outcome")
                if kind == "payload":
                    window.sent(payload_bytes(chunk.payload))
                    self.send(link_pb2.Frame(flow=link_pb2.Flow(id=call.id, chunk=chunk.payload)))
                elif kind == "tool_error":
                    end.tool_error.CopyFrom(chunk.tool_error)
        except SnakepitError as error:
            end.error.CopyFrom(to_frame(error))
        finally:
            stream.abandon()
            self._flow.calls.cancel(call)
        self.answer(call.id, end)
