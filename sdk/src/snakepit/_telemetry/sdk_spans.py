"""OpenTelemetry's own spans and contexts, as `tracing` has them. Imported only where this process traces."""

from __future__ import annotations

import functools

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from snakepit._telemetry.span import Attributes
from snakepit._telemetry.spans import ERROR_TYPE, STARTED
from snakepit._telemetry.traceparent import is_plain, span_id, trace_id

_FLAGS = {"1": TraceFlags(1), "3": TraceFlags(3)}
"""Sampled; and with an id that is random."""


class SdkSpan:
    """A `Span`, see there."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.traceparent = text_of(span.get_span_context())

    @property
    def tracestate(self) -> str:
        return self._span.get_span_context().trace_state.to_header()

    @property
    def is_recording(self) -> bool:
        return self._span.is_recording()

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int | None = None) -> None:
        self._span.add_event(name, attributes, at_ns)

    def make_current(self) -> None:
        """What this task, or this context, does from now on belongs under it."""
        context.attach(trace.set_span_in_context(self._span))

    def end(self, error: str = "", started: str = "") -> None:
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.set_attribute(ERROR_TYPE, error)
            if started:
                self._span.set_attribute(STARTED, started)
        self._span.end()


def text_of(span: SpanContext) -> str:
    """Its traceparent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"


def within(parent: SpanContext) -> Context:
    """Where that span is current."""
    return trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())


def sender(traceparent: str, tracestate: str) -> SpanContext | None:
    """The sender's span; None: it doesn't sample its trace, or its text is malformed: it may send anything. As the propagator reads it,
    which is asked where there is more to read than in what our own programs write."""
    if tracestate or not is_plain(traceparent):
        return _read(traceparent, tracestate)
    return SpanContext(int(trace_id(traceparent), 16), int(span_id(traceparent), 16), is_remote=True, trace_flags=_FLAGS[traceparent[-1]])


def _read(traceparent: str, tracestate: str) -> SpanContext | None:
    found = _propagator().extract({"traceparent": traceparent, "tracestate": tracestate}, Context())
    said = trace.get_current_span(found).get_span_context()
    return said if said.is_valid and said.trace_flags.sampled else None


@functools.cache
def _propagator() -> TraceContextTextMapPropagator:
    return TraceContextTextMapPropagator()
