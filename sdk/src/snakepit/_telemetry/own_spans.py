"""Spans of our own: texts and numbers, until they are sent.

The SDK's span is ready for whatever a program may do with one, from any thread, by any sampler and within any limit, which costs several
times as much as all that ours are asked for. Where something of that is wanted, `making` makes the SDK's. On a call's way as little is
done as can be: of a hundred calls one is sampled, and code that runs so rarely is cold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns

from opentelemetry.context import get_current
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanContext, TraceFlags

from snakepit._telemetry.roots import Roots
from snakepit._telemetry.sdk_spans import Sender, new_span_id
from snakepit._telemetry.span import Attributes, More, Said, SpanEvent, whole
from snakepit._telemetry.spans import ERROR_TYPE, STARTED
from snakepit._telemetry.traceparent import under

MOST_EVENTS = 128
"""Of one span, the last ones, as the SDK has it."""

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
_ROOT_FLAGS = "03"
"""Of the W3C's: sampled, and the trace's id is random."""


def suffice(environment: Mapping[str, str]) -> bool:
    """Whether our own spans do all that the variables ask for: no sampler that overrules senders, and no limits but the SDK's own."""
    return environment.get("OTEL_TRACES_SAMPLER", "").lower() in _SAMPLERS and not any(map(environment.get, _LIMITS))


class OwnSpan:
    """A `Span`, see there. `parent`: None where it begins a trace. Attributes are texts, numbers and booleans: what was `said` when it
    began, and `attributes` since.

    Nothing is added to one that has ended: the exporter's thread may be reading it.
    """

    __slots__ = (
        "attributes",
        "end_ns",
        "error",
        "events",
        "kind",
        "more",
        "name",
        "parent",
        "processor",
        "said",
        "start_ns",
        "traceparent",
    )

    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    """All that a processor asks of one: whether it is sampled."""

    def __init__(self, processor: SpanProcessor, name: str, traceparent: str, parent: Sender | None, said: Said, kind: str) -> None:
        self.processor, self.name, self.kind = processor, name, kind
        self.traceparent, self.parent = traceparent, parent
        self.said = said
        self.attributes: dict[str, str | int | float | bool] = {}
        self.events: list[SpanEvent] = []
        self.start_ns = time_ns()
        self.end_ns = 0
        self.error = ""
        self.more: More | None = None

    @property
    def is_recording(self) -> bool:
        return not self.end_ns

    @property
    def tracestate(self) -> str:
        return "" if self.parent is None or self.parent.state is None else self.parent.state.to_header()

    def rename(self, name: str) -> None:
        if not self.end_ns:
            self.name = name

    def set(self, attributes: Attributes) -> None:
        if not self.end_ns:
            self.attributes.update(attributes)

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int | None = None) -> None:
        if self.end_ns:
            return
        if len(self.events) == MOST_EVENTS:
            del self.events[0]
        self.events.append(SpanEvent(name, time_ns() if at_ns is None else at_ns, attributes or {}))

    def end(self, error: str = "", started: str = "", more: More | None = None) -> None:
        """Idempotent."""
        if not self.end_ns:
            self.more = more
            if error and started:
                self.attributes[STARTED] = started
            self._over(time_ns(), error)

    def over(self, times: tuple[int, int], events: Sequence[SpanEvent], error: str) -> None:
        """It began and ended then, and that is all."""
        self.start_ns = times[0]
        self.events += events
        self._over(times[1], error)

    def _over(self, end_ns: int, error: str) -> None:
        self.end_ns = end_ns
        if error:
            self.error = self.attributes[ERROR_TYPE] = error
        self.processor.on_end(self)  # type: ignore[arg-type]  # Exporter makes what it says of it

    def told(self) -> tuple[Attributes, Sequence[SpanEvent]]:
        """All that is to be said of one that is over."""
        said = whole(self.said)
        if self.more is None:
            return {**said, **self.attributes}, self.events
        attributes, events = self.more()
        return {**said, **self.attributes, **attributes}, [*self.events, *events][-MOST_EVENTS:]


class OwnSpans:
    """Those that this process makes, and gives to its processor when they are over. `roots`: who decides about new traces."""

    def __init__(self, processor: SpanProcessor, roots: Roots) -> None:
        self._processor = processor
        self._roots = roots

    def under(self, sender: Sender, name: str, said: Said, kind: str = "internal", span_id: str = "") -> OwnSpan:
        """Below that one. `span_id`: its own, where it has one."""
        return OwnSpan(self._processor, name, under(sender.traceparent, span_id or new_span_id()), sender, said, kind)

    def root(self, name: str, said: Said, kind: str) -> OwnSpan | None:
        """Of a new trace; None: only the SDK can say whether it is one, and whether it is sampled."""
        if get_current() or not (trace_id := self._roots.begun()):
            return None
        return OwnSpan(self._processor, name, f"00-{trace_id:032x}-{new_span_id()}-{_ROOT_FLAGS}", None, said, kind)
