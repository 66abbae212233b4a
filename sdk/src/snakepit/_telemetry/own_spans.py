"""Spans of our own: a few fields until they are over, and then what OpenTelemetry's SDK sends.

The SDK's span is ready for whatever a program may do with one, from any thread, by any sampler and within any limit, which costs several
times as much as all that ours are asked for. Where something of that is wanted, `tracing` makes the SDK's. Imported only where this
process has set up where spans go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import getrandbits
from time import time_ns

from opentelemetry.context import get_current
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from snakepit._telemetry.roots import Roots
from snakepit._telemetry.sdk_spans import text_of
from snakepit._telemetry.span import Attributes, SpanEvent
from snakepit._telemetry.spans import ERROR_TYPE, STARTED

MOST_EVENTS = 128
"""Of one span, the last ones, as the SDK has it."""

_UNSET = Status()
_RANDOM = 0x02
"""Of the W3C's flags: the trace's id is random."""
_ROOT, _KEPT = TraceFlags(TraceFlags.SAMPLED | _RANDOM), TraceFlags.SAMPLED | _RANDOM

_SAMPLERS = ("", "always_on", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio")
"""They sample what its sender samples."""
_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
)


def suffice(environment: Mapping[str, str]) -> bool:
    """Whether our own spans do all that the variables ask for: no sampler that overrules senders, and no limits but the SDK's own."""
    return environment.get("OTEL_TRACES_SAMPLER", "").lower() in _SAMPLERS and not any(map(environment.get, _LIMITS))


class Over(ReadableSpan):
    """One of ours that is over. Its attributes, and those of its events, are texts, numbers and booleans."""


class OwnSpan:
    """A `Span`, see there."""

    __slots__ = ("attributes", "context", "events", "kind", "name", "parent", "start_ns", "to", "traceparent")

    is_recording = True

    def __init__(self, to: OwnSpans, name: str, context: SpanContext, parent: SpanContext | None, kind: SpanKind, said: Attributes) -> None:
        self.to: OwnSpans | None = to
        self.name, self.context, self.parent, self.kind = name, context, parent, kind
        self.attributes = {**said}
        self.events: list[SpanEvent] = []
        self.start_ns = time_ns()
        self.traceparent = text_of(context)

    @property
    def tracestate(self) -> str:
        return self.context.trace_state.to_header()

    def rename(self, name: str) -> None:
        self.name = name

    def set(self, attributes: Attributes) -> None:
        self.attributes.update(attributes)

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int | None = None) -> None:
        if len(self.events) == MOST_EVENTS:
            del self.events[0]
        self.events.append(SpanEvent(name, time_ns() if at_ns is None else at_ns, attributes or {}))

    def end(self, error: str = "", started: str = "") -> None:
        """Idempotent."""
        if (to := self.to) is not None:
            self.to = None
            if error and started:
                self.attributes[STARTED] = started
            to.over(self, time_ns(), error)


class OwnSpans:
    """Of this process: made here, and sent by its processor."""

    def __init__(self, provider: TracerProvider, processor: SpanProcessor, roots: Roots, scope: str) -> None:
        self._scope = InstrumentationScope(scope)
        self._provider = provider
        self._processor = processor
        self._roots = roots

    def start(self, name: str, parent: SpanContext | None, attributes: Attributes, kind: SpanKind) -> OwnSpan | None:
        """Below that parent, which is sampled, or of a new trace; None: only the SDK knows what of."""
        if parent is not None:
            return OwnSpan(self, name, _below(parent), parent, kind, attributes)
        if get_current() or not (trace_id := self._roots.begun()):
            return None
        return OwnSpan(self, name, SpanContext(trace_id, _new_id(), False, _ROOT), None, kind, attributes)

    def export(
        self,
        name: str,
        parent: SpanContext,
        span_id: int,
        times: tuple[int, int],
        said: Attributes,
        events: Sequence[SpanEvent],
        error: str,
    ) -> None:
        """One that is over already, below that parent. `times`: its start and its end."""
        span = OwnSpan(self, name, _below(parent, span_id), parent, SpanKind.INTERNAL, said)
        span.start_ns, span.events = times[0], [*events]
        self.over(span, times[1], error)

    def over(self, span: OwnSpan, end_ns: int, error: str) -> None:
        """It goes to whom it may concern."""
        if error:
            span.attributes[ERROR_TYPE] = error
        self._processor.on_end(
            Over(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=self._provider.resource,
                attributes=span.attributes,
                events=[Event(each.name, each.attributes, each.at_ns) for each in span.events],
                kind=span.kind,
                status=Status(StatusCode.ERROR, error) if error else _UNSET,
                start_time=span.start_ns,
                end_time=end_ns,
                instrumentation_scope=self._scope,
            )
        )


def _below(parent: SpanContext, span_id: int = 0) -> SpanContext:
    flags = TraceFlags(parent.trace_flags & _KEPT)
    return SpanContext(parent.trace_id, span_id or _new_id(), False, flags, parent.trace_state)


def _new_id() -> int:
    return getrandbits(64) or 1
