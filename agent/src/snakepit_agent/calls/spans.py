"""The spans of one call in its capsule: the agent's own, and the tool's, which its worker has measured.

Made only where this process traces, and for calls whose trace is sampled. A worker's frames are what its process says, in which the
author's code runs too: of a span it says no more than when, and which id.
"""

from __future__ import annotations

import re

from snakepit._ipc.frames import CallFailure, ToolFailure
from snakepit._ipc.worker import SpanFrame, StateOperation
from snakepit._telemetry import spans, tracing
from snakepit._telemetry.propagation import TRACESTATE
from snakepit._telemetry.span import Span, SpanEvent
from snakepit.errors import Started, ToolError
from snakepit.v1 import link_pb2
from snakepit_agent.link.translate import Outcome
from snakepit_agent.model.call import HeldCall

MOST_MESSAGE, MOST_TRACEBACK = 1024, 16 * 1024
"""Characters of an exception's, or of a reason, that a span has."""

_ID = re.compile(r"[0-9a-f]{16}")
_LATEST_NS = 1 << 63
_TRACE_ID = len("00-") + 32
"""So far a traceparent says of which trace it is."""


class CallSpans:
    """Of one call that this capsule holds; ended once."""

    __slots__ = ("_about", "_name", "_span", "_tool", "traceparent", "tracestate")

    def __init__(self, span: Span, name: str, about: dict[str, str]) -> None:
        self.traceparent, self.tracestate = span.traceparent, span.tracestate
        self._span: Span | None = span
        self._name, self._about = name, about
        self._tool: SpanFrame | None = None

    def tool_ended(self, frame: SpanFrame) -> None:
        """The worker says when the tool ran; how it ended comes next."""
        if _ID.fullmatch(frame.span_id) and int(frame.span_id, 16) and 0 < frame.start_ns <= frame.end_ns < _LATEST_NS:
            self._tool = frame

    def gave_back(self) -> None:
        """The call never began here, and goes elsewhere: nothing has failed."""
        if self._span is not None:
            self._span.set({spans.GAVE_BACK: True})
            self._span.end()
            self._span = None

    def end(self, outcome: Outcome) -> None:
        """The call is over."""
        if self._span is None:
            return
        error, started = _failed(outcome)
        if self._tool is not None:
            self._export_tool(self._tool, outcome, error, started)
        self._span.end(error, started)
        self._span = None

    def _export_tool(self, frame: SpanFrame, outcome: Outcome, error: str, started: str) -> None:
        about: dict[str, str | int] = {**self._about}
        if (process := frame.attributes.get(spans.PROCESS_ID, "")).isdecimal() and len(process) < 10:
            about[spans.PROCESS_ID] = int(process)
        events = []
        if isinstance(outcome, ToolFailure):
            error = outcome.type[:MOST_MESSAGE]
            events.append(SpanEvent(spans.EXCEPTION, frame.end_ns, _exception(outcome)))
        if error:
            about[spans.STARTED] = started
        tracing.export_span(
            f"tool {self._name}",
            self.traceparent,
            frame.start_ns,
            frame.end_ns,
            tracestate=self.tracestate,
            span_id=frame.span_id,
            error=error,
            attributes=about,
            events=events,
        )


def begin(held: HeldCall, call: link_pb2.Call, worker: str) -> None:
    """Of a call that has been admitted, if its trace is sampled; what comes of it belongs under its span."""
    about = {**spans.of_call(call.pool, held.tool, held.call_id, held.session_id), spans.WORKER: worker}
    span = tracing.start_span(f"run {held.tool}", held.traceparent, about, tracestate=call.metadata.get(TRACESTATE, ""))
    if span is not None:
        held.span = CallSpans(span, held.tool, about)
        held.traceparent = span.traceparent


def state(pool: str, held: HeldCall, operation: StateOperation) -> Span | None:
    """Of a state operation of a call that is traced here; the worker says below which span of that trace."""
    if held.span is None or not of_one_trace(operation.traceparent, held):
        return None
    about = {spans.POOL: pool, spans.SESSION: held.session_id}
    if operation.key:
        about[spans.STATE_KEY] = operation.key
    name, state = f"state {operation.operation}", held.span.tracestate
    return tracing.start_span(name, operation.traceparent, about, kind="client", tracestate=state)


def of_one_trace(traceparent: str, held: HeldCall) -> bool:
    """Does a worker speak of the trace of its own call?"""
    return traceparent[:_TRACE_ID] == held.traceparent[:_TRACE_ID]


def end_state(span: Span, failure: CallFailure | None) -> None:
    """It is answered."""
    span.end(*((failure.reason, Started.of(failure.started)) if failure is not None else ()))


def _failed(outcome: Outcome) -> tuple[str, str]:
    """Its reason, and whether the tool may have run; empty: it has not failed."""
    if isinstance(outcome, CallFailure):
        return outcome.reason[:MOST_MESSAGE], Started.of(outcome.started)
    return (ToolError.reason, Started.YES) if isinstance(outcome, ToolFailure) else ("", "")


def _exception(failure: ToolFailure) -> dict[str, str]:
    """As OpenTelemetry names what was raised. The end of a traceback says most."""
    return {
        "exception.type": failure.type[:MOST_MESSAGE],
        "exception.message": failure.message[:MOST_MESSAGE],
        "exception.stacktrace": failure.traceback[-MOST_TRACEBACK:],
    }
