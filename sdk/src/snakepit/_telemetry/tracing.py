"""Hand-placed spans over OTLP, configured by the standard OTEL_* variables; without an endpoint every function here is a no-op.

Owns the process's tracer. The trace context travels as the W3C `traceparent` text in the frames, never in a context variable. The
OpenTelemetry SDK (extra `otel`) is imported by `configure` alone, and only when there is somewhere to send spans to.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from snakepit import __version__, _extras
from snakepit._telemetry.spans import ERROR_TYPE, STARTED
from snakepit._telemetry.traceparent import is_sampled

if TYPE_CHECKING:
    from snakepit._telemetry.roots import Roots

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

Attributes = Mapping[str, str | int | float | bool]


class _Tracing:
    """The process's tracer, the processor that takes spans finished elsewhere, and who decides about new traces (`roots`)."""

    tracer: Any = None
    provider: Any = None
    processor: Any = None
    roots: Roots | None = None


_tracing = _Tracing()


class Span:
    """A running span. `traceparent` is what travels to the next hop; it is valid before and after the end."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Any) -> None:
        context = span.get_span_context()
        self._span = span
        self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    @property
    def tracestate(self) -> str:
        """What travels beside it, as the header `tracestate` has it; mostly empty."""
        return str(self._span.get_span_context().trace_state.to_header())

    @property
    def is_recording(self) -> bool:
        """False: it isn't sampled, and what is said of it goes nowhere."""
        return bool(self._span.is_recording())

    def rename(self, name: str) -> None:
        """More is known of it now."""
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int | None = None) -> None:
        """Something happened: now, or at that Unix time in nanoseconds."""
        self._span.add_event(name, attributes, at_ns)

    def make_current(self) -> None:
        """What this task, or this context, does from now on belongs under it."""
        from opentelemetry import context, trace

        context.attach(trace.set_span_in_context(self._span))

    def end(self, error: str = "", started: str = "") -> None:
        """Finish the span. `error` is the reason of a failure, e.g. POOL_SATURATED; `started`: may its tool have run (yes, no, maybe)?"""
        if error:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.set_attribute(ERROR_TYPE, error)
            if started:
                self._span.set_attribute(STARTED, started)
        self._span.end()


class SpanEvent(NamedTuple):
    """Of a span that is over already."""

    name: str
    at_ns: int
    attributes: Attributes


def configure(service_name: str, *, adopt: bool = False) -> bool:
    """Export spans where OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT says; True if they go anywhere. Call it once, at the start.

    With `adopt` (a library in somebody's program), the program's own tracer provider is used when it has set one, and nothing
    is set up otherwise unless an endpoint is given. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none are obeyed.
    """
    if _tracing.tracer is not None:
        return True
    if adopt and _adopt():
        return True
    if not _wanted(os.environ):
        return False
    try:
        _set_up(service_name)
    except ModuleNotFoundError as missing:
        log.warning("nothing is traced: the module %r is missing, which sends spans. %s", missing.name, _extras.OTEL)
        return False
    except Exception as error:  # What a variable says may be wrong in any way, and ends nothing but tracing.
        log.warning("nothing is traced, look at the variables OTEL_*: %s: %s", type(error).__name__, error)
        return False
    return True


def enabled() -> bool:
    """Whether this process traces anything."""
    return _tracing.tracer is not None


def follows(traceparent: str) -> bool:
    """Whether this process makes spans of that trace: it traces, and the sender samples it."""
    return _tracing.tracer is not None and is_sampled(traceparent)


def passes_over() -> bool:
    """Whether a new trace isn't sampled, so that no span is to be made of it, and NOT_SAMPLED goes along. Costs next to nothing."""
    roots = _tracing.roots
    return roots is not None and roots.passes_over()


def shutdown() -> None:
    """Send what is buffered (bounded by the exporter's own time-out) and stop."""
    provider, _tracing.tracer, _tracing.provider, _tracing.processor, _tracing.roots = _tracing.provider, None, None, None, None
    if provider is not None:
        provider.shutdown()


def start_span(
    name: str, traceparent: str = "", attributes: Attributes | None = None, *, kind: str = "internal", tracestate: str = ""
) -> Span | None:
    """A span under `traceparent` (empty: under the caller's current span, else a new trace). `kind`: internal, client, server.

    `tracestate`: what came beside that traceparent.

    None when nothing is traced, or when the sender decided not to sample this trace: pass its traceparent on as it is.
    """
    if _tracing.tracer is None:
        return None
    from opentelemetry import trace

    context = None
    if traceparent:
        context = _sampled(traceparent, tracestate)
        if context is None:
            return None
    span = _tracing.tracer.start_span(name, context=context, kind=trace.SpanKind[kind.upper()], attributes=attributes)
    return Span(span)


def export_span(
    name: str,
    traceparent: str,
    start_ns: int,
    end_ns: int,
    *,
    tracestate: str = "",
    span_id: str = "",
    error: str = "",
    attributes: Attributes | None = None,
    events: Sequence[SpanEvent] = (),
) -> None:
    """Export a span that is over already, e.g. one that a worker measured. Times are Unix nanoseconds; `traceparent` is its parent.

    `tracestate`: as for `start_span`.
    """
    if _tracing.processor is None:
        return
    context = _sampled(traceparent, tracestate)
    if context is None:
        return
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import SpanContext, Status, StatusCode, get_current_span

    parent = get_current_span(context).get_span_context()
    own = int(span_id, 16) if span_id else int.from_bytes(os.urandom(8), "big")
    _tracing.processor.on_end(
        ReadableSpan(
            name=name,
            context=SpanContext(parent.trace_id, own, is_remote=False, trace_flags=parent.trace_flags, trace_state=parent.trace_state),
            parent=parent,
            resource=_tracing.provider.resource,
            attributes=dict(attributes or {}) | ({ERROR_TYPE: error} if error else {}),
            events=[Event(each.name, each.attributes, each.at_ns) for each in events],
            start_time=start_ns,
            end_time=end_ns,
            status=Status(StatusCode.ERROR, error) if error else Status(),
        )
    )


def _wanted(environment: Mapping[str, str]) -> bool:
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in _ENDPOINTS)


def _adopt() -> bool:
    """Use the tracer provider that the surrounding program has set, if it has."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return False
    _tracing.tracer = provider.get_tracer("snakepit")
    return True


def _set_up(service_name: str) -> None:
    for protocol in filter(None, map(os.environ.get, _PROTOCOLS)):
        if protocol != "grpc":
            log.warning("OTLP protocol %r is not supported, spans are sent over grpc: set %s=grpc", protocol, _PROTOCOLS[1])
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from snakepit._telemetry.roots import Roots, rate

    name, roots = os.environ.get("OTEL_SERVICE_NAME", service_name), Roots(rate(os.environ))
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__}), id_generator=roots)
    processor = BatchSpanProcessor(OTLPSpanExporter())
    provider.add_span_processor(processor)
    _tracing.provider, _tracing.processor, _tracing.roots = provider, processor, roots
    _tracing.tracer = provider.get_tracer("snakepit")


@functools.cache
def _propagator() -> Any:
    """OpenTelemetry's own, of the W3C's header."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()


def _sampled(traceparent: str, tracestate: str) -> Any:
    """The context of a sender that samples its trace; None where it doesn't, or its text is malformed: it may send anything."""
    if not follows(traceparent):
        return None
    from opentelemetry import trace
    from opentelemetry.context import Context

    context = _propagator().extract({"traceparent": traceparent, "tracestate": tracestate}, Context())
    return context if trace.get_current_span(context).get_span_context().trace_flags.sampled else None
