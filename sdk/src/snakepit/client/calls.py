"""Calls to one target, a pool or a session: written down, sent, decoded; with a span around each where tracing is on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Never, TypeVar, cast

from snakepit._ipc import frames
from snakepit._telemetry import baggage, spans, tracing
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE, carried
from snakepit._telemetry.span import Span
from snakepit._telemetry.traceparent import NOT_SAMPLED
from snakepit.author.pending_call import misplaced, seconds
from snakepit.client import codec, requests
from snakepit.client.connection import Connection
from snakepit.client.exchange import Watch
from snakepit.client.stream import Stream
from snakepit.client.typed import Handle, Method
from snakepit.errors import SnakepitError, Started, ToolError
from snakepit.v1 import link_pb2

T = TypeVar("T")


class Relayed(NamedTuple):
    """A result as it came, and which worker it is of."""

    payload: frames.Payload
    worker: str


class Relay(NamedTuple):
    """What a gateway says of a call beside its arguments; `traceparent` (W3C): what it is part of. Times in seconds.

    `carried`: what else came of the W3C's, as metadata.
    """

    call_id: str
    traceparent: str = ""
    timeout: float | None = None
    idempotency_key: str | None = None
    priority: requests.Priority | None = None
    carried: Mapping[str, str] | None = None


class Calls:
    """What pools and sessions share: `call` and `stream`."""

    def __init__(self, connection: Connection, target: requests.Target) -> None:
        self._connection = connection
        self._target = target
        self._read = target.reading

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: requests.Priority | None = None,
        on_progress: Watch | None = None,
        **unknown: Never,
    ) -> Any:
        """Run a tool and return its value. `timeout` in seconds, None: the tool's or the pool's own. `priority` counts in the queue.

        `on_progress(fraction, message)` is called, in the event loop, with what the tool says through `ctx.progress`.

        Raises ToolError for the tool's exception, and the other SnakepitErrors for calls that failed; `started` says whether the
        tool may have run, `call_id` which call it was. Cancelling the awaiting task cancels the call.
        """
        if unknown:
            raise misplaced("call", tool, unknown, _OPTIONS)
        frame, large = self._frame(tool, arguments, idempotency_key, metadata, priority)
        if on_progress is not None:
            frame.call.progress = True
        now = self._connection.peers.check_loop()
        deadline = None if timeout is None else now + seconds(timeout, "the pool's own")
        try:
            if tracing.enabled() and (span := call_span(frame.call, "")) is not None:
                return codec.outcome(await self._traced(span, frame, large, now, deadline, on_progress), self._read)
            return codec.outcome(await self._connection.call(frame, now, deadline, on_progress, large), self._read)
        except SnakepitError as error:
            error.call_id = frame.call.call_id
            raise

    async def relay(self, tool: str, arguments: frames.Payload, relay: Relay, on_progress: Watch | None = None) -> Relayed:
        """As `call`, for a gateway: arguments are encoded already, and the result stays so."""
        frame, large, span = self._relayed(tool, arguments, relay)
        frame.call.progress = on_progress is not None
        now = self._connection.peers.check_loop()
        deadline = None if relay.timeout is None else now + relay.timeout
        if span is not None:
            result = await self._traced(span, frame, large, now, deadline, on_progress)
        else:
            result = await self._connection.call(frame, now, deadline, on_progress, large)
        return Relayed(codec.outcome(result, codec.as_it_is), result.worker)

    def relay_stream(self, tool: str, arguments: frames.Payload, relay: Relay, on_progress: Watch | None = None) -> Stream:
        """As `stream`, for a gateway: its chunks stay encoded."""
        frame, large, span = self._relayed(tool, arguments, relay)
        return Stream(self._connection, frame.call, large, relay.timeout, span, codec.as_it_is, on_progress)

    def _relayed(self, tool: str, arguments: frames.Payload, relay: Relay) -> tuple[link_pb2.Frame, frames.Payload | None, Span | None]:
        key, priority, caller = relay.idempotency_key, relay.priority, self._connection.caller
        frame, large = requests.call_frame(self._target, tool, arguments, key, relay.carried, priority, caller)
        frame.call.call_id, frame.call.traceparent = relay.call_id, relay.traceparent
        return frame, large, self._span(frame.call, relay.traceparent)

    def stream(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: requests.Priority | None = None,
        on_progress: Watch | None = None,
        **unknown: Never,
    ) -> Stream:
        """Run a streaming tool: `async for chunk in pool.stream(...)`. Nothing is sent before the first chunk is asked for.

        `on_progress` is called as in `call`, while a chunk is waited for: a little before or after the chunks that the tool gave meanwhile.
        """
        if unknown:
            raise misplaced("stream", tool, unknown, _OPTIONS)
        timeout = None if timeout is None else seconds(timeout, "the pool's own")
        frame, large = self._frame(tool, arguments, idempotency_key, metadata, priority)
        return Stream(self._connection, frame.call, large, timeout, self._span(frame.call), self._read, on_progress)

    def typed(
        self,
        tools: type[T],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: requests.Priority | None = None,
    ) -> T:
        """The same calls through a class's signatures, which editors and type checkers know: `await pool.typed(Notes).add(text="tea")`.

        `tools`: what `snakepit tools POOL --stubs` has written; or the Adapter class itself, if its tools are `async` and take no context.
        Results are made what their annotations say. The options are those of each call. Raises InvalidArguments for what is no class.
        """
        options: dict[str, Any] = {"timeout": timeout, "metadata": metadata, "priority": priority}

        async def call(method: Method, arguments: dict[str, Any]) -> Any:
            return method.result(await self.call(method.tool, arguments, **options))

        async def stream(method: Method, arguments: dict[str, Any]) -> AsyncIterator[Any]:
            async with self.stream(method.tool, arguments, **options) as chunks:
                async for chunk in chunks:
                    yield method.result(chunk)

        return cast(T, Handle(tools, lambda method, arguments: (stream if method.streaming else call)(method, arguments), self))

    def _frame(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None,
        idempotency_key: str | None,
        metadata: Mapping[str, str] | None,
        priority: requests.Priority | None,
    ) -> tuple[link_pb2.Frame, frames.Payload | None]:
        """A call of this program's own; the baggage that is current goes along, unless it is longer than any may be."""
        frame, large = requests.call_frame(self._target, tool, arguments, idempotency_key, metadata, priority, self._connection.caller)
        if (said := baggage.current()) and BAGGAGE not in frame.call.metadata:
            frame.call.metadata.update(carried([(BAGGAGE, said)], ""))
        return frame, large

    def _span(self, call: link_pb2.Call, traceparent: str = "") -> Span | None:
        return call_span(call, traceparent) if tracing.enabled() else None

    async def _traced(
        self, span: Span, frame: link_pb2.Frame, large: frames.Payload | None, now: float, deadline: float | None, watch: Watch | None
    ) -> link_pb2.Result | codec.Large:
        with tracing.ending(span) as failed:
            result = await self._connection.call(frame, now, deadline, watch, large, span)
            if isinstance(result, link_pb2.Result) and result.HasField("tool_error"):
                failed(ToolError.reason, Started.YES)
            return result


def call_span(call: link_pb2.Call, traceparent: str) -> Span | None:
    """Around a call that is written down and not sent yet; where this process traces. What isn't sampled gets no span, but says so."""
    if not traceparent and tracing.passes_over():
        call.traceparent = NOT_SAMPLED
        return None
    if traceparent and not tracing.follows(traceparent):
        return None
    tool = call.tool
    about = partial(spans.of_request, call.pool, tool, call.call_id, call.session_id)
    span = tracing.start_span(f"call {tool}", traceparent, about, kind="client", tracestate=call.metadata.get(TRACESTATE, ""))
    if span is not None:
        call.traceparent = span.traceparent
        if (state := span.tracestate) and TRACESTATE not in call.metadata:
            call.metadata[TRACESTATE] = state
    return span


_OPTIONS = ("timeout", "idempotency_key", "metadata", "priority", "on_progress")
