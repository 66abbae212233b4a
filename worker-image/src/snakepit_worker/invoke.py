"""One call: decode, context, run (sync, async, generator), encode.

It reads no socket: frames come in as arguments and leave through the `Channel`.
"""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import Any

from snakepit._ipc import callers
from snakepit._ipc.frames import CallFailure, Payload, ToolFailure
from snakepit._ipc.sections import LARGE_BYTES, counted, sizes, skeleton
from snakepit._ipc.worker import Begin, CallFrame, ChunkFrame, Done
from snakepit._names import nearest
from snakepit._telemetry.traceparent import is_sampled
from snakepit._values import payloads
from snakepit.author.context import AsyncContext, Caller, CallInfo, Context, Interrupted, StateCache
from snakepit.author.signatures import context_of_hook
from snakepit.author.tools import Tool
from snakepit.errors import InvalidArguments, SnakepitError, Started
from snakepit_worker import traces
from snakepit_worker.channel import Channel
from snakepit_worker.exits import leave
from snakepit_worker.explained import explain
from snakepit_worker.logs import Calls as LineCalls
from snakepit_worker.raised import Raised
from snakepit_worker.running import Calls, Runner, RunningCall
from snakepit_worker.sessions import Sessions

QUICK_SECONDS = 0.0005
"""Tools whose running mean is below this are not announced by `Begin`: for them its cost would show, and its use would not."""

logger = logging.getLogger("snakepit.worker")

HOLD_SECONDS = 0.00005
"""The result of a tool with a running mean below this waits for those of the calls that are in the inbox already: one message, and one
wake-up of the agent, instead of one each. It is not lost with the process (`snakepit._ipc.held`), and when the next call is unexpectedly
slow, the agent asks for what is held (`Flush`)."""


class Limits:
    """What a payload may be, as the agent says: how large a result, or a chunk, and whether arguments may be pickled."""

    def __init__(self, *, pickle: bool = False) -> None:
        self.bytes = 64 * 1024 * 1024
        self.name = "maxLargePayloadBytes"
        self.pickle = pickle

    def set(self, bytes: int, name: str, *, pickle: bool) -> None:
        """The control plane takes so many bytes; `name` is the setting that says so."""
        self.bytes, self.name, self.pickle = bytes, name, pickle


class _TooLarge(Exception):
    """The result is over the limit."""


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
    limit: Limits
    means: dict[str, float]
    lines: LineCalls
    raised: Raised
    warned: set[str] = field(default_factory=set)
    """Tools whose author has read that a value of theirs can't be carried."""

    def run(self, frame: CallFrame) -> None:
        """Serve one call to its `Done`. OSError: the agent has gone."""
        usual = self.means.get(frame.tool, 1.0)
        if usual >= HOLD_SECONDS:
            self.channel.flush()
        call = RunningCall(frame, self.channel)
        started_ns = time.time_ns() if frame.traceparent and is_sampled(frame.traceparent) else 0
        started = time.monotonic()
        self.calls.begin(call)
        self.lines.begin(frame, quick=usual < HOLD_SECONDS)
        try:
            done = self._outcome(call, started, usual)
        finally:
            self.calls.end(call)
            self.lines.end()
        done.run_seconds = time.monotonic() - started
        if started_ns:
            done.started_ns = started_ns
        if done.payload is not None:
            done.sections = call.sections
        if done.failure is None and done.tool_error is None:  # which is often quicker than the work would have been
            usual = self.means[frame.tool] = self.means.get(frame.tool, done.run_seconds) * 0.8 + done.run_seconds * 0.2
        if call.sections or usual >= HOLD_SECONDS:
            self.channel.send(done)
        else:
            self.channel.hold(done)

    def _outcome(self, call: RunningCall, now: float, usual: float) -> Done:
        frame = call.frame
        tool = self.tools.get(frame.tool)
        if tool is None:
            return _refusal(frame, "TOOL_NOT_FOUND", f"no tool is named {frame.tool!r}", nearest=", ".join(nearest(frame.tool, self.tools)))
        if frame.deadline and frame.deadline <= now:
            return _refusal(frame, "DEADLINE", "the deadline passed before the tool began")
        try:
            arguments = tool.decode(frame.arguments, trusted=self.limit.pickle)
        except InvalidArguments as error:
            return _refusal(frame, error.reason, error.message)
        if usual >= QUICK_SECONDS:
            self.channel.send(Begin(frame.id, now, threading.get_ident()))
        return self._guarded(call, tool, arguments)

    def _guarded(self, call: RunningCall, tool: Tool, arguments: dict[str, Any]) -> Done:
        # What a tool sets in context variables is gone with its call.
        own = copy_context()
        try:
            return Done(call.id, payload=self.runner.guarded(call, own.run, self._execute, call, tool, arguments))
        except Interrupted as error:
            return _interruption(call, tool, error)
        except _TooLarge as error:
            return Done(call.id, failure=self._too_large(tool, error))
        except BaseException as error:
            if self.channel.disowned:
                leave(error)
            explained = explain(error)
            self.raised.tell(tool.name, explained, time.monotonic())
            if isinstance(error, SnakepitError) and error.of_context:
                return Done(call.id, failure=CallFailure(error.reason, error.message, int(Started.YES), dict(error.details)))
            if call.reason:
                return _interruption(call, tool, Interrupted(call.reason))  # It has become another on its way, as out of a library's C.
            return Done(call.id, tool_error=ToolFailure(**explained))

    def _execute(self, call: RunningCall, tool: Tool, arguments: dict[str, Any]) -> Payload | None:
        frame = call.frame
        if (frame.traceparent or frame.metadata) and traces.API in sys.modules:
            traces.make_current(frame)
        if frame.session_id:
            self.sessions.begin(frame.session_id, frame.session_uid, frame.session_epoch, lambda: self._start_session(call))
        if tool.signature.context:
            arguments[tool.signature.context] = self._context(call, AsyncContext if tool.signature.async_context else Context)
        call.began = True
        result = tool.function(**arguments)
        if tool.streaming:
            return self._stream(call, result)
        if inspect.iscoroutine(result):
            result = self.runner.wait(call, result)
        if self.channel.disowned:
            leave(None)
        if call.reason:
            raise Interrupted(call.reason)  # Swallowed on its way: what came instead is no result.
        encoded, size = self._encode(call, result)
        if call.frame.stream:
            self._send_chunk(call, 0, encoded, size)
            return None
        return encoded if size <= LARGE_BYTES else self._fitting(call, encoded, size)

    def _start_session(self, call: RunningCall) -> None:
        hook = self.sessions.adapter.on_session_start
        kind = context_of_hook(hook)
        result = hook(call.frame.session_id if kind is None else self._context(call, kind))
        if inspect.iscoroutine(result):
            self.runner.wait(call, result)

    def _context(self, call: RunningCall, kind: type[Context] | type[AsyncContext]) -> Context | AsyncContext:
        frame = call.frame
        caller = Caller(*callers.read(frame.identity))
        deadline = frame.deadline or None
        info = CallInfo(
            frame.call_id, frame.tool, frame.session_id, frame.session_epoch, frame.metadata, deadline, frame.session_uid, caller
        )
        return kind(info, call, self.cache)

    def _stream(self, call: RunningCall, result: Any) -> Payload | None:
        if isinstance(result, AsyncIterator):
            return self._payload_of(call, self.runner.wait(call, self._consume_async(call, result)))
        if inspect.iscoroutine(result):
            result = self.runner.wait(call, result)
        return self._payload_of(call, self._consume(call, iter(result)))

    def _payload_of(self, call: RunningCall, collected: list[Any] | None) -> Payload | None:
        return None if collected is None else self._fitting(call, *self._encode(call, collected))

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
        payload = self._fitting(call, payload, size)
        self.channel.send(ChunkFrame(call.id, index, payload, call.sections))
        call.sections = ()

    def _fitting(self, call: RunningCall, payload: Payload, size: int) -> Payload:
        """What a frame holds: the payload, or of a large one, whose bytes go ahead of the frame, the skeleton."""
        if size <= LARGE_BYTES:
            return payload
        self.channel.hand_over(call.id, payload)
        call.sections = sizes(payload)
        return skeleton(payload)

    def _encode(self, call: RunningCall, value: Any) -> tuple[Payload, int]:
        """In the encoding of the arguments, which the caller can read; and its bytes."""
        encoded = payloads.encode(value, call.frame.arguments.content_type)
        if encoded.warnings:
            self._warn(call.frame.tool, encoded.warnings[0])
        if (size := payloads.size(encoded)) > self.limit.bytes and counted(sizes(encoded)) > self.limit.bytes:
            raise _TooLarge(size)
        return encoded, size

    def _warn(self, tool: str, sentence: str) -> None:
        """Tell the author once: every caller is told each time."""
        if tool not in self.warned:
            self.warned.add(tool)
            logger.warning("a result of tool %s is incomplete: %s", tool, sentence)

    def _too_large(self, tool: Tool, error: _TooLarge) -> CallFailure:
        limit, name = self.limit.bytes, self.limit.name
        message = f"the result of tool {tool.name!r} has {error} bytes; the limit {name} is {limit}"
        return CallFailure("PAYLOAD_TOO_LARGE", message, int(Started.YES), {"limit": name, "bytes": str(limit)})


def _refusal(frame: CallFrame, reason: str, message: str, **details: str) -> Done:
    return Done(frame.id, failure=CallFailure(reason, message, int(Started.NO), {key: each for key, each in details.items() if each}))


def _interruption(call: RunningCall, tool: Tool, error: Interrupted) -> Done:
    started = Started.YES if call.began else Started.NO
    return Done(call.id, failure=CallFailure(error.reason, f"tool {tool.name!r} was interrupted: {error}", int(started)))
