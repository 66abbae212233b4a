"""One call: decode, context, run (sync, async, generator), encode; and how it is interrupted.

It reads no socket: frames come in as arguments and leave through the `Channel`.
"""

from __future__ import annotations

import inspect
import os
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from snakepit import payload as payloads
from snakepit.calling import Conversation, ToolRequest
from snakepit.context import AsyncContext, CallInfo, Context, Interrupted, StateCache
from snakepit.errors import InvalidArguments, SnakepitError, Started
from snakepit.local.frames import (
    STREAM_BYTES,
    STREAM_CREDIT,
    Begin,
    CallFailure,
    CallFrame,
    ChunkFrame,
    Done,
    FromWorker,
    Payload,
    ProgressFrame,
    SpanFrame,
    StateAnswer,
    ToolFailure,
)
from snakepit.local.sections import LARGE_BYTES, counted, sizes, skeleton
from snakepit.names import nearest
from snakepit.tools import Tool
from snakepit_worker.channel import Channel
from snakepit_worker.endings import leave
from snakepit_worker.logs import Calls as LineCalls
from snakepit_worker.sessions import Sessions
from snakepit_worker.starting import explain

if TYPE_CHECKING:
    import asyncio

QUICK_SECONDS = 0.0005
"""Tools whose running mean is below this are not announced by `Begin`: for them its cost would show, and its use would not."""

HOLD_SECONDS = 0.00005
"""The result of a tool with a running mean below this waits for those of the calls that are in the inbox already: one message, and one
wake-up of the agent, instead of one each. When the next call is unexpectedly slow, the agent asks for what is held (`Flush`)."""

_EARLY = 64


class Runner(Protocol):
    """How a profile runs code: in the main thread, or in one of several."""

    def guarded(self, call: RunningCall, work: Callable[[], Any]) -> Any:
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
    """A call between its `CallFrame` and its `Done`; the `Host` of its context."""

    def __init__(self, frame: CallFrame, channel: Channel) -> None:
        self.frame = frame
        self.id = frame.id
        # Of the stream that was asked for.
        self.credits = Credits() if frame.stream else None
        self.cancel: Callable[[], Any] | None = None
        self.reason = ""
        # The author's code has been entered; a cancellation may come before.
        self.began = False
        self.ended = False
        # Of the payload that was handed over last, and that the next frame speaks of.
        self.sections: tuple[int, ...] = ()
        self.span_id = ""
        self._channel = channel

    def interruption(self) -> str:
        return self.reason

    def _check(self) -> None:
        """A thread, or a later call, may still have the context; nobody answers it any more."""
        if self.ended:
            raise RuntimeError(f"call {self.frame.call_id} has ended: its context can't be used any more")

    def progress(self, fraction: float, message: str) -> None:
        self._check()
        self._channel.send(ProgressFrame(self.id, fraction, message))

    def state(self, operation: str, key: str, value: Payload | None, expected_version: int) -> Future[StateAnswer]:
        self._check()
        return self._channel.ask(self.id, operation, key, value, expected_version)

    def state_soon(self, operation: str, key: str, value: Payload | None, expected_version: int) -> asyncio.Future[StateAnswer]:
        self._check()
        return self._channel.ask_soon(self.id, operation, key, value, expected_version)

    def tool(self, request: ToolRequest) -> Conversation:
        self._check()
        return self._channel.converse(self.id, request, self._traceparent())

    def _traceparent(self) -> str:
        """What the tool calls belongs under the tool's own span, which is exported when it ends."""
        given = self.frame.traceparent
        parts = given.split("-")
        if len(parts) != 4 or not is_sampled(given):
            return given
        self.span_id = parts[2] = self.span_id or secrets.token_hex(8)
        return "-".join(parts)


class Calls:
    """The calls that run here, for whoever has something to tell one of them. A cancellation may overtake its call."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._running: dict[int, RunningCall] = {}
        self._early: OrderedDict[int, str] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, call: RunningCall) -> None:
        with self._lock:
            self._running[call.id] = call
            call.reason = self._early.pop(call.id, "")

    def end(self, call: RunningCall) -> None:
        with self._lock:
            self._running.pop(call.id, None)
        call.ended = True

    def interrupt(self, id: int, reason: str) -> None:
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
        with self._lock:
            call = self._running.get(id)
        if call is not None and call.credits is not None:
            call.credits.add(chunks)


class ResultLimit:
    """How large a result, or a chunk, may be: as the agent says, which knows the control plane's settings."""

    def __init__(self) -> None:
        self.bytes = 64 * 1024 * 1024
        self.name = "maxLargePayloadBytes"

    def set(self, bytes: int, name: str) -> None:
        self.bytes, self.name = bytes, name


class _TooLarge(Exception):
    """A result over the limit."""


class _Collected:
    """A stream that is asked for as one list, as far as it fits."""

    def __init__(self, limit: int) -> None:
        self.values: list[Any] = []
        self._left = self._limit = limit

    def add(self, value: Any) -> None:
        self._left -= payloads.size(payloads.encode(value))
        if self._left < 0:
            raise _TooLarge(f"more than {self._limit}")
        self.values.append(value)


@dataclass(frozen=True)
class Invoker:
    """Everything that a call needs and that outlives it."""

    tools: Mapping[str, Tool]
    channel: Channel
    runner: Runner
    calls: Calls
    sessions: Sessions
    cache: StateCache
    limit: ResultLimit
    means: dict[str, float]
    # Whether the result of a quick call may wait for the next one's: only where one thread alone takes calls.
    may_hold: bool
    lines: LineCalls
    pickle: bool = False

    def run(self, frame: CallFrame) -> None:
        """Serve one call to its `Done`. OSError: the agent has gone."""
        if not (quick := self._is_quick(frame.tool)):
            self.channel.flush()
        call = RunningCall(frame, self.channel)
        started = time.monotonic()
        started_ns = time.time_ns()
        self.calls.begin(call)
        self.lines.begin(frame, quick=quick)
        try:
            done = self._outcome(call, started)
        finally:
            self.calls.end(call)
            self.lines.end()
        if call.sections and done.payload is not None:
            done.sections = call.sections
        done.run_seconds = time.monotonic() - started
        self._learn(done, frame.tool)
        spans = self._span(call, done, started_ns)
        if spans or done.sections or not self._is_quick(frame.tool):
            self.channel.send(*spans, done)
        else:
            self.channel.hold(done)

    def _is_quick(self, tool: str) -> bool:
        return self.may_hold and self.means.get(tool, 1.0) < HOLD_SECONDS

    def _outcome(self, call: RunningCall, now: float) -> Done:
        frame = call.frame
        tool = self.tools.get(frame.tool)
        if tool is None:
            return _refusal(frame, "TOOL_NOT_FOUND", f"no tool is named {frame.tool!r}", nearest=", ".join(nearest(frame.tool, self.tools)))
        if frame.deadline and frame.deadline <= now:
            return _refusal(frame, "DEADLINE", "the deadline passed before the tool began")
        try:
            arguments = tool.decode(frame.arguments, trusted=self.pickle)
        except InvalidArguments as error:
            return _refusal(frame, error.reason, error.message)
        if self.means.get(frame.tool, 1.0) >= QUICK_SECONDS:
            self.channel.send(Begin(frame.id, now, threading.get_ident()))
        return self._guarded(call, tool, arguments)

    def _guarded(self, call: RunningCall, tool: Tool, arguments: dict[str, Any]) -> Done:
        # What a tool sets in context variables is gone with its call.
        own = copy_context()
        try:
            return Done(call.id, payload=self.runner.guarded(call, lambda: own.run(self._execute, call, tool, arguments)))
        except Interrupted as error:
            started = Started.YES if call.began else Started.NO
            return Done(call.id, failure=CallFailure(error.reason, f"tool {tool.name!r} was interrupted: {error}", int(started)))
        except _TooLarge as error:
            return Done(call.id, failure=self._too_large(tool, error))
        except BaseException as error:
            if self.channel.disowned:
                leave(error)
            if isinstance(error, SnakepitError) and error.of_context:
                return Done(call.id, failure=CallFailure(error.reason, error.message, int(Started.YES), dict(error.details)))
            return Done(call.id, tool_error=ToolFailure(**explain(_without_our_frames(error))))

    def _execute(self, call: RunningCall, tool: Tool, arguments: dict[str, Any]) -> Payload | None:
        self.sessions.begin(call.frame.session_id, call.frame.session_uid, call.frame.session_epoch)
        if tool.signature.context:
            arguments[tool.signature.context] = self._context(call, tool)
        call.began = True
        result = tool.function(**arguments)
        if tool.streaming:
            return self._stream(call, result)
        if inspect.iscoroutine(result):
            result = self.runner.wait(call, result)
        if self.channel.disowned:
            leave(None)
        encoded, size = self._encode(call, result)
        if call.frame.stream:
            self._send_chunk(call, 0, encoded, size)
            return None
        return encoded if size <= LARGE_BYTES else self._hand_over(call, encoded)

    def _context(self, call: RunningCall, tool: Tool) -> Context | AsyncContext:
        frame = call.frame
        info = CallInfo(
            frame.call_id, frame.tool, frame.session_id, frame.session_epoch, frame.metadata, frame.deadline or None, frame.session_uid
        )
        kind = AsyncContext if tool.signature.async_context else Context
        return kind(info, call, self.cache)

    def _stream(self, call: RunningCall, result: Any) -> Payload | None:
        if isinstance(result, AsyncIterator):
            return self._payload_of(call, self.runner.wait(call, self._consume_async(call, result)))
        if inspect.iscoroutine(result):
            result = self.runner.wait(call, result)
        return self._payload_of(call, self._consume(call, iter(result)))

    def _payload_of(self, call: RunningCall, collected: list[Any] | None) -> Payload | None:
        if collected is None:
            return None
        encoded, size = self._encode(call, collected)
        return encoded if size <= LARGE_BYTES else self._hand_over(call, encoded)

    def _consume(self, call: RunningCall, values: Iterator[Any]) -> list[Any] | None:
        collected = None if call.frame.stream else _Collected(self.limit.bytes)
        try:
            for index, value in enumerate(values):
                if collected is not None:
                    collected.add(value)
                    continue
                encoded, size = self._encode(call, value)
                with self.channel.shielded:
                    if call.credits is not None and (waiting := call.credits.take(size)) is not None:
                        waiting.result()
                self._send_chunk(call, index, encoded, size)
        finally:
            if (close := getattr(values, "close", None)) is not None:
                close()
        return None if collected is None else collected.values

    async def _consume_async(self, call: RunningCall, values: AsyncIterator[Any]) -> list[Any] | None:
        import asyncio

        collected, index = None if call.frame.stream else _Collected(self.limit.bytes), 0
        try:
            async for value in values:
                if collected is not None:
                    collected.add(value)
                    continue
                encoded, size = self._encode(call, value)
                if call.credits is not None and (waiting := call.credits.take(size)) is not None:
                    await asyncio.wrap_future(waiting)
                self._send_chunk(call, index, encoded, size)
                index += 1
        finally:
            if (close := getattr(values, "aclose", None)) is not None:
                await close()
        return None if collected is None else collected.values

    def _send_chunk(self, call: RunningCall, index: int, payload: Payload, size: int) -> None:
        if size > LARGE_BYTES:
            payload = self._hand_over(call, payload)
        self.channel.send(ChunkFrame(call.id, index, payload, call.sections))
        call.sections = ()

    def _hand_over(self, call: RunningCall, payload: Payload) -> Payload:
        """The bytes go ahead of the frame, which holds the skeleton that is returned."""
        self.channel.hand_over(call.id, payload)
        call.sections = sizes(payload)
        return skeleton(payload)

    def _encode(self, call: RunningCall, value: Any) -> tuple[Payload, int]:
        """In the encoding of the arguments, which the caller can read; and its bytes."""
        encoded = payloads.encode(value, call.frame.arguments.content_type)
        if (size := payloads.size(encoded)) > self.limit.bytes and counted(sizes(encoded)) > self.limit.bytes:
            raise _TooLarge(size)
        return encoded, size

    def _too_large(self, tool: Tool, error: _TooLarge) -> CallFailure:
        limit, name = self.limit.bytes, self.limit.name
        message = f"the result of tool {tool.name!r} has {error} bytes; the limit {name} is {limit}"
        return CallFailure("PAYLOAD_TOO_LARGE", message, int(Started.YES), {"limit": name, "bytes": str(limit)})

    def _learn(self, done: Done, tool: str) -> None:
        """A failure is often quicker than the work would have been."""
        if done.failure is None and done.tool_error is None:
            self.means[tool] = self.means.get(tool, done.run_seconds) * 0.8 + done.run_seconds * 0.2

    @staticmethod
    def _span(call: RunningCall, done: Done, started_ns: int) -> list[FromWorker]:
        frame = call.frame
        if not is_sampled(frame.traceparent):
            return []
        error = done.tool_error.type if done.tool_error else done.failure.reason if done.failure else ""
        name, span_id = f"tool {frame.tool}", call.span_id or secrets.token_hex(8)
        attributes = {"process.pid": str(os.getpid())}
        return [SpanFrame(name, frame.traceparent, span_id, started_ns, time.time_ns(), error, attributes)]


def is_sampled(traceparent: str) -> bool:
    """The lowest bit of the trace flags; others, such as `random`, may be set beside it (https://www.w3.org/TR/trace-context-2/)."""
    return traceparent[-1:] in {"1", "3", "5", "7", "9", "b", "d", "f"}


def _refusal(frame: CallFrame, reason: str, message: str, **details: str) -> Done:
    return Done(frame.id, failure=CallFailure(reason, message, int(Started.NO), {key: each for key, each in details.items() if each}))


def _without_our_frames(error: BaseException) -> BaseException:
    """The author's traceback begins where the author's code does."""
    trace, ours = error.__traceback__, __file__.rpartition("/")[0]
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(ours):
        trace = trace.tb_next
    return error.with_traceback(trace or error.__traceback__)
