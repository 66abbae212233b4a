"""The worker's end of its outbox: frames out from any thread, answers and orders in through one reader thread.

Large results go out as memfds, on the inbox's way back.

It routes; what a frame means is decided by the objects it is given to.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from snakepit._ipc.frames import CallFailure, Payload, StateAnswer, ToolAnswer, ToolChunk
from snakepit._ipc.held import HeldResults
from snakepit._ipc.sections import spread
from snakepit._ipc.sockets import agent_frames, encode_batch, hand_over, seal_memfd
from snakepit._ipc.worker import MOST_BYTES, Done, FromWorker, StateOperation, ToolCall, ToolDropped, ToolTaken, ToWorker
from snakepit._values import payloads
from snakepit.author.pending_call import PendingCall, ToolRequest
from snakepit.errors import Started
from snakepit_worker.interrupts import Shielding

if TYPE_CHECKING:
    import asyncio

_READ = 1 << 16


class Channel:
    """`interrupts` is told not to break a message in two. `held`: where results may wait for each other; None: nowhere."""

    def __init__(self, outbox: socket.socket, inbox: socket.socket, interrupts: Shielding, held: HeldResults | None = None) -> None:
        self._outbox = outbox
        self._inbox = inbox
        self._interrupts = interrupts
        self._lock = threading.Lock()
        self._held = held
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[StateAnswer] | asyncio.Future[StateAnswer]] = {}
        self._soon: list[StateOperation] = []
        self._tools: dict[int, PendingCall] = {}
        self.disowned = False

    @property
    def shielded(self) -> AbstractContextManager[None]:
        """No interrupt is raised inside: for what is told of the end of its call in another way."""
        return self._interrupts.shielded

    def send(self, *frames: FromWorker) -> None:
        """One message, with what was held before it. Waits while the agent doesn't read. OSError: the agent has gone."""
        if self.disowned:
            raise RuntimeError("this process was forked in a tool: the call, and its ctx, belong to the process that forked")
        with self._interrupts.shielded, self._lock:
            message = encode_batch(frames) if frames else b""
            if (held := self._held) is None or not held.count:
                self._outbox.sendall(message)
                return
            self._outbox.sendall(held.message() + message)
            held.clear()

    def hold(self, result: Done) -> None:
        """Let the end of a call wait for the next `send` or `flush`, where it may."""
        if (held := self._held) is not None:
            with self._lock:
                if held.add(result):
                    return
        self.send(result)

    def flush(self) -> None:
        """Send what is held, if anything is."""
        if (held := self._held) is not None and held.count:
            self.send()

    def hand_over(self, id: int, payload: Payload) -> None:
        """The bytes of a large result, or chunk, of the call `id`; the frame that speaks of them follows. OSError: the agent has gone."""
        descriptor = seal_memfd(*spread(payload))
        try:
            with self._interrupts.shielded:
                hand_over(self._inbox, id, descriptor)
        finally:
            os.close(descriptor)

    def ask(
        self, id: int, operation: str, key: str, value: Payload | None, expected_version: int, traceparent: str = ""
    ) -> Future[StateAnswer]:
        """A state operation of the call `id`; its answer comes later."""
        number = next(self._numbers)
        answer: Future[StateAnswer] = Future()
        if (refused := _too_large("STATE_QUOTA", "session.maxValueBytes", key, value)) is not None:
            answer.set_result(StateAnswer(number, failure=refused))
            return answer
        self._asked[number] = answer
        self.send(StateOperation(number, id, operation, key, value, expected_version, traceparent))
        return answer

    def ask_soon(
        self, id: int, operation: str, key: str, value: Payload | None, expected_version: int, traceparent: str = ""
    ) -> asyncio.Future[StateAnswer]:
        """The same from a task: what is asked in one turn of the loop leaves as one message, and what comes back as one wakes it once."""
        import asyncio

        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[StateAnswer] = loop.create_future()
        if (refused := _too_large("STATE_QUOTA", "session.maxValueBytes", key, value)) is not None:
            answer.set_result(StateAnswer(number, failure=refused))
            return answer
        self._asked[number] = answer
        loop.call_soon(self._ask_together)
        self._soon.append(StateOperation(number, id, operation, key, value, expected_version, traceparent))
        return answer

    def _ask_together(self) -> None:
        asked, self._soon = self._soon, []
        if sum(payloads.size(each.value) for each in asked if each.value is not None) > MOST_BYTES:
            for each in asked:
                self.send(each)
        elif asked:
            self.send(*asked)

    def pending_call(self, id: int, request: ToolRequest, traceparent: str) -> PendingCall:
        """The call `id` calls a tool; chunks and the answer come through the PendingCall."""
        number = next(self._numbers)

        def taken() -> None:
            self.send(ToolTaken(number, 1))

        def dropped() -> None:
            if self._tools.pop(number, None) is not None:
                self.send(ToolDropped(number))

        pending = PendingCall(request, taken, dropped)
        if (refused := _too_large("PAYLOAD_TOO_LARGE", "maxPayloadBytes", request.name + request.pool, request.arguments)) is not None:
            pending.add(ToolAnswer(number, failure=refused))
            return pending
        self._tools[number] = pending
        deadline = request.deadline or 0.0
        self.send(ToolCall(number, id, request.name, request.arguments, request.pool, deadline, request.stream, traceparent))
        return pending

    def read(self, take: Callable[[ToWorker], None]) -> None:
        """Until the agent goes away: answers to whoever asked, the rest to `take`. OSError, FramingError: likewise the end."""
        buffer = agent_frames()
        while data := self._outbox.recv(_READ):
            woken: list[tuple[asyncio.Future[StateAnswer], StateAnswer]] = []
            for frame in buffer.feed(data):
                if isinstance(frame, StateAnswer):
                    self._answer(frame, woken)
                elif isinstance(frame, ToolChunk | ToolAnswer):
                    self._came_back(frame)
                else:
                    take(frame)
            if woken:
                _wake(woken)

    def _answer(self, frame: StateAnswer, woken: list[tuple[asyncio.Future[StateAnswer], StateAnswer]]) -> None:
        waiting = self._asked.pop(frame.operation_id, None)
        if isinstance(waiting, Future):
            if waiting.set_running_or_notify_cancel():
                waiting.set_result(frame)
        elif waiting is not None:
            woken.append((waiting, frame))

    def _came_back(self, frame: ToolChunk | ToolAnswer) -> None:
        ended = isinstance(frame, ToolAnswer)
        pending = self._tools.pop(frame.operation_id, None) if ended else self._tools.get(frame.operation_id)
        if pending is not None:
            pending.add(frame)

    def disown(self) -> None:
        """In a child that the author forked: this end is not its own."""
        self.disowned = True
        self._lock = threading.Lock()  # Another thread may have held it, and is not here.
        self._held, self._soon = None, []
        self._outbox.close()


def _too_large(reason: str, limit: str, names: str, payload: Payload | None) -> CallFailure | None:
    """Why the agent can't be asked so much; None: it can."""
    if (size := len(names) + (payloads.size(payload) if payload is not None else 0)) <= MOST_BYTES:
        return None
    message = f"{size} bytes are more than a tool can ask with at once: {MOST_BYTES} is the most, and {limit} may allow less"
    return CallFailure(reason, message, int(Started.NO), {"limit": limit, "bytes": str(MOST_BYTES)})


def _wake(answered: list[tuple[asyncio.Future[StateAnswer], StateAnswer]]) -> None:
    """From the reader thread, once for all: each crossing into the loop is a system call."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        answered[0][0].get_loop().call_soon_threadsafe(_settle, answered)


def _settle(answered: list[tuple[asyncio.Future[StateAnswer], StateAnswer]]) -> None:
    for waiting, answer in answered:
        if not waiting.done():
            waiting.set_result(answer)
