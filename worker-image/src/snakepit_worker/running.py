"""Calls that run here: what a call is between its frame and its end, what holds its chunks back, and who can interrupt it."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._ipc.worker import MOST_PROGRESS, STREAM_BYTES, STREAM_CREDIT, CallFrame, ProgressFrame
from snakepit.author.context import Interrupted
from snakepit.author.pending_call import PendingCall, ToolRequest
from snakepit_worker import traces
from snakepit_worker.channel import Channel

if TYPE_CHECKING:
    import asyncio

_EARLY = 64
T = TypeVar("T")


class Runner(Protocol):
    """How a profile runs code: in the main thread, or in one of several."""

    def guarded(self, call: RunningCall, work: Callable[..., T], *arguments: Any) -> T:
        """`work`, so that `interrupt` can end it. Raises Interrupted."""

    def wait(self, call: RunningCall, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end. A cancellation sets `call.cancel`."""

    def interrupt(self, call: RunningCall) -> None:
        """Raise in the frame that runs, as far as this profile can."""


class Credits:
    """Chunks that may still be sent ahead of the consumer: so many, and of so many bytes; a larger one goes alone, or beside one other."""

    def __init__(self) -> None:
        self._untaken: deque[int] = deque()
        self._bytes = 0
        self._waiting: tuple[Future[None], int] | None = None
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def take(self, size: int) -> Future[None] | None:
        """For a chunk of `size` bytes. None: it may go. Otherwise wait for the future, then it may. Raises what `fail` was given."""
        cost = min(size, STREAM_BYTES // 2)
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._fits(cost):
                self._count(cost)
                return None
            self._waiting = Future(), cost
            return self._waiting[0]

    def add(self, chunks: int) -> None:
        """The consumer took so many."""
        with self._lock:
            for _ in range(min(chunks, len(self._untaken))):
                self._bytes -= self._untaken.popleft()
            if self._waiting is None or not self._fits(self._waiting[1]):
                return
            (waiting, cost), self._waiting = self._waiting, None
            self._count(cost)
        if waiting.set_running_or_notify_cancel():
            waiting.set_result(None)

    def _fits(self, cost: int) -> bool:
        return len(self._untaken) < STREAM_CREDIT and self._bytes + cost <= STREAM_BYTES

    def _count(self, cost: int) -> None:
        self._untaken.append(cost)
        self._bytes += cost

    def fail(self, error: BaseException) -> None:
        """Nobody takes any more: whoever waits, or comes later, is told."""
        with self._lock:
            self._failure = error
            waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting[0].set_running_or_notify_cancel():
            waiting[0].set_exception(error)


class RunningCall:
    """A call between its `CallFrame` and its `Done`; the `Runtime` of its context."""

    cancel: Callable[[], Any] | None = None
    reason = ""
    # The author's code has been entered; a cancellation may come before.
    began = False
    ended = False
    # Of the payload that was handed over last, and that the next frame speaks of.
    sections: tuple[int, ...] = ()

    def __init__(self, frame: CallFrame, channel: Channel) -> None:
        self.frame = frame
        self.id = frame.id
        # Of the stream that was asked for.
        self.credits = Credits() if frame.stream else None
        self._channel = channel

    def interruption(self) -> str:
        """CANCELLED, DEADLINE, or nothing."""
        return self.reason

    def _check(self) -> None:
        """A thread, or a later call, may still have the context; nobody answers it any more."""
        if self.ended:
            raise RuntimeError(f"call {self.frame.call_id} has ended: its context can't be used any more")

    def progress(self, fraction: float, message: str) -> None:
        """Tell the caller how far the tool is."""
        self._check()
        self._channel.send(ProgressFrame(self.id, fraction, message[:MOST_PROGRESS]))

    def state(self, operation: str, key: str, value: Payload | None, expected_version: int) -> Future[StateAnswer]:
        """Ask for get, set, delete or keys on the session's state."""
        self._check()
        return self._channel.ask(self.id, operation, key, value, expected_version, self._current())

    def state_soon(self, operation: str, key: str, value: Payload | None, expected_version: int) -> asyncio.Future[StateAnswer]:
        """The same from a task of the running loop."""
        self._check()
        return self._channel.ask_soon(self.id, operation, key, value, expected_version, self._current())

    def tool(self, request: ToolRequest) -> PendingCall:
        """Have a tool called."""
        self._check()
        return self._channel.pending_call(self.id, request, self._current())

    def _current(self) -> str:
        """What the tool asks for belongs under its own span, or one of the author's."""
        given = self.frame.traceparent
        return traces.current(given) if given else ""


class Calls:
    """The calls that run here, for whoever has something to tell one of them. A cancellation may overtake its call."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._running: dict[int, RunningCall] = {}
        self._early: OrderedDict[int, str] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, call: RunningCall) -> None:
        """The call runs from now on; a cancellation that overtook it counts."""
        with self._lock:
            self._running[call.id] = call
            if self._early:
                call.reason = self._early.pop(call.id, "")

    def end(self, call: RunningCall) -> None:
        """The call is over, and its context is of no more use."""
        self._running.pop(call.id, None)
        call.ended = True

    def interrupt(self, id: int, reason: str) -> None:
        """End the call with that reason, now or when it begins."""
        with self._lock:
            call = self._running.get(id)
            if call is None:
                self._early[id] = reason
                if len(self._early) > _EARLY:
                    self._early.popitem(last=False)
                return
            call.reason = reason
        if call.cancel is not None:
            call.cancel()
        else:
            self._runner.interrupt(call)
        if call.credits is not None:
            call.credits.fail(Interrupted(reason))

    def credit(self, id: int, chunks: int) -> None:
        """The consumer of the call's stream has taken so many chunks."""
        with self._lock:
            call = self._running.get(id)
        if call is not None and call.credits is not None:
            call.credits.add(chunks)
