"""OpenTelemetry's own spans and contexts, as `tracing` has them. Imported only where this process traces."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from random import getrandbits
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context, attach
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from snakepit._telemetry.span import Attributes, More, SpanEvent
from snakepit._telemetry.spans import ERROR_TYPE, STARTED
from snakepit._telemetry.traceparent import is_plain, span_id, trace_id

_KEPT = 0x03
"""Flags of the W3C's that go on from span to span: sampled, and that the trace's id is random."""
_FLAGS = {"1": TraceFlags(1), "3": TraceFlags(3)}


class SdkSpan:
    """A `Span`, see there."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent = _text(context, context.trace_flags)

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
        attach(trace.set_span_in_context(self._span))

    def end(self, error: str = "", started: str = "", more: More | None = None) -> None:
        attributes, events = more() if more is not None and self.is_recording else ({}, ())
        self.set(attributes)
        if error and started:
            self._span.set_attribute(STARTED, started)
        self.over(None, events, error)

    def over(self, end_ns: int | None, events: Sequence[SpanEvent], error: str) -> None:
        """It has ended then, None: now; that is what happened to it."""
        for each in events:
            self._span.add_event(each.name, each.attributes, each.at_ns)
        if error:
            self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.set_attribute(ERROR_TYPE, error)
        self._span.end(end_ns)


class Sender(NamedTuple):
    """A span elsewhere that samples its trace. `traceparent`: of version 00, with flags 01 or 03; `state`: what came beside it."""

    traceparent: str
    state: TraceState | None = None

    @property
    def context(self) -> SpanContext:
        return _context(self.traceparent, self.state, is_remote=True)


def sender(traceparent: str, tracestate: str) -> Sender | None:
    """None: it doesn't sample its trace, or its text is malformed: it may send anything. As the propagator reads it, which is asked where
    there is more to read than in what our own programs write."""
    return Sender(traceparent) if not tracestate and is_plain(traceparent) else _read(traceparent, tracestate)


def _read(traceparent: str, tracestate: str) -> Sender | None:
    found = _propagator().extract({"traceparent": traceparent, "tracestate": tracestate}, Context())
    said = trace.get_current_span(found).get_span_context()
    return Sender(_text(said, said.trace_flags & _KEPT), said.trace_state) if said.is_valid and said.trace_flags.sampled else None


def new_span_id() -> str:
    """At random, as a traceparent has it."""
    return f"{getrandbits(64) or 1:016x}"


def context_of(traceparent: str, parent: Sender | None) -> SpanContext:
    """Of a span of ours below that one."""
    return _context(traceparent, None if parent is None else parent.state, is_remote=False)


def within(parent: Sender) -> Context:
    """Where that span is current."""
    return trace.set_span_in_context(trace.NonRecordingSpan(parent.context), Context())


def _context(traceparent: str, state: TraceState | None, *, is_remote: bool) -> SpanContext:
    flags = _FLAGS[traceparent[-1]]
    return SpanContext(int(trace_id(traceparent), 16), int(span_id(traceparent), 16), is_remote, flags, state)


def _text(span: SpanContext, flags: int) -> str:
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{flags:02x}"


@functools.cache
def _propagator() -> TraceContextTextMapPropagator:
    return TraceContextTextMapPropagator()
