"""Which span is made where: our own where it suffices, else OpenTelemetry's. Imported only where this process traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry import trace

from snakepit._telemetry import sdk_spans
from snakepit._telemetry.span import Said, Span, SpanEvent, whole
from snakepit._telemetry.traceparent import is_sampled, under

if TYPE_CHECKING:
    from snakepit._telemetry.own_spans import OwnSpans
    from snakepit._telemetry.roots import Roots


class Spans:
    """Those that this process makes; see `tracing` for what they are given. `roots`: where we have set up where spans go; `own`: where ours
    do all that its variables ask for."""

    def __init__(self, tracer: trace.Tracer, roots: Roots | None = None, own: OwnSpans | None = None) -> None:
        self._tracer = tracer
        self._roots = roots
        self._own = own

    def start(self, name: str, traceparent: str, said: Said, kind: str, tracestate: str, *, current: bool) -> Span | None:
        parent = None
        if traceparent and (not is_sampled(traceparent) or (parent := sdk_spans.sender(traceparent, tracestate)) is None):
            return None
        if (own := self._own) is not None and not current:
            made = own.root(name, said, kind) if parent is None else own.under(parent, name, said, kind)
            if made is not None:
                return made
        return self._sdks(name, parent, said, kind, current=current)

    def below(self, traceparent: str) -> str:
        if not is_sampled(traceparent) or (parent := sdk_spans.sender(traceparent, "")) is None:
            return ""
        return under(parent.traceparent, sdk_spans.new_span_id())

    def _sdks(self, name: str, parent: sdk_spans.Sender | None, said: Said, kind: str, *, current: bool) -> Span:
        context = None if parent is None else sdk_spans.within(parent)
        made = self._tracer.start_span(name, context=context, kind=trace.SpanKind[kind.upper()], attributes=whole(said))
        span = sdk_spans.SdkSpan(made)
        if current:
            span.make_current()
        return span

    def export(
        self,
        name: str,
        traceparent: str,
        tracestate: str,
        span_id: str,
        times: tuple[int, int],
        said: Said,
        events: Sequence[SpanEvent],
        error: str,
    ) -> None:
        if self._roots is None or (parent := sdk_spans.sender(traceparent, tracestate)) is None:
            return
        if self._own is None:
            self._roots.next_span(int(span_id, 16))
            made = self._tracer.start_span(name, sdk_spans.within(parent), attributes=whole(said), start_time=times[0])
            sdk_spans.SdkSpan(made).over(times[1], events, error)
        else:
            self._own.under(parent, name, said, span_id=span_id).over(times, events, error)
