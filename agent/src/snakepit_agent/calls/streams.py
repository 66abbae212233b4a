"""Which call's chunks, or large result, take which bulk lane. The lane itself is `link.bulk`'s; slots are not its business.

A call's Result goes over the link as soon as its tool has ended: its slot is free, while what it said may still be on its way here.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from snakepit._ipc.frames import Payload
from snakepit._ipc.sections import total
from snakepit._ipc.worker import Credit, ToWorker
from snakepit.v1 import link_pb2
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.link.bulk import Delivery, Item, Route
from snakepit_agent.link.translate import LargePayload, Outcome, chunk_to_wire
from snakepit_agent.model.call import HeldCall

Tell = Callable[[str, ToWorker], None]
Send = Callable[[str, link_pb2.Frame], object]
SendResult = Callable[[str, link_pb2.Frame, float], None]
FindRoute = Callable[[HeldCall], Route | None]
Stopped = Callable[[HeldCall], None]


PROGRESS_KEPT = 16
"""Of a call whose consumer doesn't read: older words are dropped."""


@dataclass
class _Stream:
    call: HeldCall
    delivery: Delivery | None = None
    next_index: int = 0
    taken: int = 0
    said: deque[tuple[int, link_pb2.Progress]] = field(default_factory=lambda: deque(maxlen=PROGRESS_KEPT))
    """Each with the number of chunks that came before it."""
    broken: bool = False
    ended: bool = False


class Streams:
    """`route` finds a call's way to its replica; `tell` gives a frame to a worker, `send` to a replica; `send_result` ends a call.

    `consumer_went` is told of a running call that nobody listens to any more, `idle` of one whose tool says nothing. `budget_changed`:
    results in memfds have come or gone.
    """

    def __init__(
        self,
        budget: MemoryBudget,
        route: FindRoute,
        tell: Tell,
        send: Send,
        send_result: SendResult,
        consumer_went: Stopped,
        idle: Stopped,
        budget_changed: Callable[[], None],
    ) -> None:
        self._budget = budget
        self._route = route
        self._tell = tell
        self._send, self._send_result = send, send_result
        self._consumer_went = consumer_went
        self._idle = idle
        self._budget_changed = budget_changed
        self.open: dict[int, _Stream] = {}

    def chunk(self, call: HeldCall, payload: Payload | LargePayload) -> None:
        """The tool yielded."""
        self._push(self._of(call), payload, last=False)

    def progress(self, call: HeldCall, progress: link_pb2.Progress) -> None:
        """The tool says how far it is: told when the consumer has taken the chunks before, as the link is quicker than a lane."""
        stream = self.open.get(call.id)
        if stream is None or stream.delivery is None:
            self._send(call.replica, link_pb2.Frame(progress=progress))
            return
        stream.said.append((stream.next_index, progress))
        stream.delivery.lives()
        self._tell_progress(stream)

    def _tell_progress(self, stream: _Stream) -> None:
        while stream.said and stream.said[0][0] <= stream.taken:
            self._send(stream.call.replica, link_pb2.Frame(progress=stream.said.popleft()[1]))

    def finish(self, call: HeldCall, outcome: Outcome, result: link_pb2.Frame) -> None:
        """The call has ended with `outcome`, which is a stream's last chunk, or a large result; `result` says so on the link."""
        if (open_ := self.open.get(call.id)) is not None:
            open_.taken = open_.next_index  # A word that comes a little early is better than none: after the Result nobody hears it.
            self._tell_progress(open_)
        self._send_result(call.replica, result, time.monotonic())
        stream = self._of(call)
        stream.ended = True
        self._push(stream, outcome, last=True)
        if stream.broken:
            self.open.pop(call.id, None)

    async def close(self) -> None:
        """Give up on what is still on its way."""
        deliveries = [stream.delivery for stream in self.open.values() if stream.delivery is not None]
        for delivery in deliveries:
            delivery.abort()
        await asyncio.gather(*[delivery.task for delivery in deliveries], return_exceptions=True)

    async def settle(self) -> None:
        """Wait until every consumer has what its tool has said, or has gone."""
        await asyncio.gather(*[stream.delivery.task for stream in self.open.values() if stream.delivery], return_exceptions=True)

    def _of(self, call: HeldCall) -> _Stream:
        stream = self.open.get(call.id)
        if stream is None:
            stream = self.open[call.id] = _Stream(call)
            self._open(stream)
        return stream

    def _open(self, stream: _Stream) -> None:
        call = stream.call
        route = self._route(call)
        if route is None:
            self._break(stream)
            return

        def taken(chunks: int) -> None:
            self._tell(call.incarnation, Credit(call.id, chunks))
            stream.taken += chunks
            self._tell_progress(stream)

        stream.delivery = Delivery(route, taken, lambda: self._idle(call), lambda why: self._ended(stream, why))

    def _push(self, stream: _Stream, outcome: Outcome, *, last: bool) -> None:
        item = Item(chunk_to_wire(stream.next_index, outcome, last=last))
        if isinstance(outcome, LargePayload):
            item.descriptor, item.bytes = outcome.descriptor, total(outcome.sections)
            item.on_close = lambda: self._trail(-item.bytes)
            self._trail(item.bytes)
        stream.next_index += 1
        if stream.delivery is None or stream.broken:
            item.close()
        else:
            stream.delivery.push(item)

    def _trail(self, bytes: int) -> None:
        self._budget.trailing += bytes
        self._budget_changed()

    def _ended(self, stream: _Stream, why: str) -> None:
        if stream.ended:
            self.open.pop(stream.call.id, None)
        elif why:
            self._break(stream)

    def _break(self, stream: _Stream) -> None:
        stream.broken = True
        self._consumer_went(stream.call)
