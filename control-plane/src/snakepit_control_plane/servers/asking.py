"""Nested calls off an agent's link: each goes to the intake or to a client, and what comes back goes to the agent that asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from snakepit import _wire as links
from snakepit._tasks import Tasks
from snakepit._wire import LinkClosed
from snakepit._wire.status import to_frame
from snakepit._wire.window import Window
from snakepit.errors import Cancelled, SnakepitError, Started
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.flow.nested import Target
from snakepit_control_plane.flow.streams import Stream
from snakepit_control_plane.flow.whole_payloads import take_whole
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.nesting import nest_of
from snakepit_control_plane.policy.admission import payload_bytes
from snakepit_control_plane.servers.door import Door


class _Open(NamedTuple):
    """A nested call that has not been answered: how to cancel it, and to say that chunks of its stream were taken."""

    cancel: Callable[[], None]
    taken: Callable[[int], None]


class Asking:
    """The nested calls of one agent's link."""

    def __init__(self, flow: Flow, capsule: Capsule, link: links.Link, door: Door) -> None:
        self._flow = flow
        self._door = door
        self._capsule = capsule
        self._link = link
        self._open: dict[int, _Open] = {}
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
        self._send(link_pb2.Frame(result=result))

    def _chunk(self, id_: int, payload: common_pb2.Payload) -> None:
        self._send(link_pb2.Frame(flow=link_pb2.Flow(id=id_, chunk=payload)))

    def _send(self, frame: link_pb2.Frame) -> None:
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
                raise _ended()
            pool, who = call.pool or parent.pool_name, parent.request.who
            if pool == parent.pool_name or not who.subject:
                self._go_on(parent, call, parent.request.any_session)
                return
            session = next((id_ for of, id_, _ in [nest_of(parent).session()] if of == pool), "")
            if (any_session := self._door.known_to_call(who, self._flow.pools.find(pool).name, session)) is not None:
                self._go_on(parent, call, any_session)
                return
            asking = asyncio.ensure_future(self._door.may_call(who, pool, session))
            self._open[call.id] = _Open(partial(_cancel, asking), lambda _: None)
            self._tasks.spawn(self._elsewhere(parent, call, asking), name="may a nested call go to another pool?")
        except SnakepitError as error:
            self._fail(call, error)

    async def _elsewhere(self, parent: Call, call: link_pb2.Call, asking: asyncio.Future[bool]) -> None:
        """A tool calls other pools as its caller, who needs the right to."""
        try:
            any_session = await asking
            if parent.answered:
                raise _ended()
            self._go_on(parent, call, any_session)
        except asyncio.CancelledError:
            self._fail(call, _ended())
            raise
        except SnakepitError as error:
            self._fail(call, error)

    def _go_on(self, parent: Call, call: link_pb2.Call, any_session: bool) -> None:
        """Raises SnakepitError."""
        target = self._flow.nested.resolve(parent, call)
        if target.offered is not None:
            id_ = call.id
            running = target.offered.provider.run(call, target, partial(self.answer, id_), partial(self._chunk, id_))
            self._open[id_] = _Open(running.cancel, running.taken)
        else:
            self._to_worker(parent, call, target, any_session)

    def _fail(self, call: link_pb2.Call, error: SnakepitError) -> None:
        self.answer(call.id, link_pb2.Result(call_id=call.call_id, error=to_frame(error)))

    def _to_worker(self, parent: Call, asked: link_pb2.Call, target: Target, any_session: bool) -> None:
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

        call = flow.intake.open(frame, ended, now, who=parent.request.who, any_session=any_session, sink=stream, nest=target.nest)
        if stream is not None:
            self._tasks.spawn(self._pump(call, stream, window))
        if stream is not None or not call.answered:
            self._open[call.id] = _Open(partial(flow.calls.cancel, call), window.taken)

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
                    self._chunk(call.id, chunk.payload)
                elif kind == "tool_error":
                    end.tool_error.CopyFrom(chunk.tool_error)
        except SnakepitError as error:
            end.error.CopyFrom(to_frame(error))
        finally:
            stream.abandon()
            self._flow.calls.cancel(call)
        self.answer(call.id, end)


def _ended() -> Cancelled:
    return Cancelled("the call that asked has ended", started=Started.NO)


def _cancel(asking: asyncio.Future[bool]) -> None:
    asking.cancel()
