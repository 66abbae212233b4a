"""Hand-placed spans over OTLP, configured by the standard OTEL_* variables; without an endpoint every function here is a no-op.

Owns the process's tracer. The trace context travels as the W3C `traceparent` text in the frames, never in a context variable. The
OpenTelemetry SDK (extra `otel`) is imported by `configure` alone, and only when there is somewhere to send spans to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from snakepit import __version__, _extras
from snakepit._telemetry.span import Said, Span, SpanEvent
from snakepit._telemetry.traceparent import is_sampled
from snakepit.errors import Cancelled, SnakepitError, Started

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from snakepit._telemetry.making import Spans
    from snakepit._telemetry.otlp import Exporter
    from snakepit._telemetry.roots import Roots

FAREWELL_SECONDS = 2.0
"""A program that ends waits so long for its last spans to be taken. The SDK would for 30 s, where a collector is silent."""

log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

_SCOPE = "snakepit"
"""As OpenTelemetry names the library that makes spans."""


class _Tracing:
    """What makes the process's spans; and where we have set up ourselves where they go, that, and who decides about new traces."""

    spans: Spans | None = None
    provider: TracerProvider | None = None
    exporter: Exporter | None = None
    roots: Roots | None = None


_tracing = _Tracing()


def configure(service_name: str, *, adopt: bool = False) -> bool:
    """Export spans where OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT says; True if they go anywhere. Call it once, at the start.

    With `adopt` (a library in somebody's program), the program's own tracer provider is used when it has set one, and nothing
    is set up otherwise unless an endpoint is given. OTEL_SDK_DISABLED=true and OTEL_TRACES_EXPORTER=none are obeyed.
    """
    if _tracing.spans is not None:
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
    return _tracing.spans is not None


def follows(traceparent: str) -> bool:
    """Whether this process makes spans of that trace: it traces, and the sender samples it."""
    return _tracing.spans is not None and is_sampled(traceparent)


def passes_over() -> bool:
    """Whether a new trace isn't sampled, so that no span is to be made of it, and NOT_SAMPLED goes along. Costs next to nothing."""
    roots = _tracing.roots
    return roots is not None and roots.passes_over()


def shutdown() -> None:
    """Send what is buffered, and stop; after FAREWELL_SECONDS in any case."""
    provider, exporter = _tracing.provider, _tracing.exporter
    _tracing.spans = _tracing.provider = _tracing.exporter = _tracing.roots = None
    if provider is not None and exporter is not None:
        late = threading.Timer(FAREWELL_SECONDS, exporter.shutdown)
        late.start()
        provider.shutdown()
        late.cancel()


def start_span(
    name: str,
    traceparent: str = "",
    said: Said | None = None,
    *,
    kind: str = "internal",
    tracestate: str = "",
    current: bool = False,
) -> Span | None:
    """A span under `traceparent` (empty: under the caller's current span, else a new trace). `kind`: internal, client, server.

    `tracestate`: what came beside that traceparent. `current`: what this task, or this context, does from now on belongs under it.

    None when nothing is traced, or when the sender decided not to sample this trace: pass its traceparent on as it is.
    """
    if (spans := _tracing.spans) is None:
        return None
    return spans.start(name, traceparent, said or {}, kind, tracestate, current=current)


@contextlib.contextmanager
def ending(span: Span) -> Iterator[Callable[[str, Started], None]]:
    """The span ends with what is done within, and says how that failed: what it raises; or by what is yielded, its reason."""
    error, began = "", ""

    def failed(reason: str, started: Started) -> None:
        nonlocal error, began
        error, began = reason, str(started)

    try:
        yield failed
    except SnakepitError as raised:
        failed(raised.reason, raised.started)
        raise
    except asyncio.CancelledError:
        failed(Cancelled.reason, Started.MAYBE)
        raise
    finally:
        span.end(error, began)


def below(traceparent: str) -> str:
    """The traceparent of a span below that one, which is exported when it is over; empty: the sender doesn't sample its trace, or that is
    no traceparent. Only where this process traces."""
    return "" if _tracing.spans is None else _tracing.spans.below(traceparent)


def export_span(
    name: str,
    traceparent: str,
    start_ns: int,
    end_ns: int,
    *,
    span_id: str,
    tracestate: str = "",
    error: str = "",
    said: Said | None = None,
    events: Sequence[SpanEvent] = (),
) -> None:
    """Export a span that is over already, e.g. one that a worker measured. Times are Unix nanoseconds; `traceparent` is its parent.

    `span_id`: that of what `below` gave; `tracestate`: as for `start_span`.
    """
    if _tracing.spans is not None:
        _tracing.spans.export(name, traceparent, tracestate, span_id, (start_ns, end_ns), said or {}, events, error)


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
    from snakepit._telemetry.making import Spans

    _tracing.spans = Spans(provider.get_tracer(_SCOPE))
    return True


def _set_up(service_name: str) -> None:
    for protocol in filter(None, map(os.environ.get, _PROTOCOLS)):
        if protocol != "grpc":
            log.warning("OTLP protocol %r is not supported, spans are sent over grpc: set %s=grpc", protocol, _PROTOCOLS[1])
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from snakepit._telemetry.making import Spans
    from snakepit._telemetry.otlp import Exporter
    from snakepit._telemetry.own_spans import OwnSpans, suffice
    from snakepit._telemetry.roots import Roots, rate

    name, roots = os.environ.get("OTEL_SERVICE_NAME", service_name), Roots(rate(os.environ))
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__}), id_generator=roots)
    exporter = Exporter(provider, _SCOPE)
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    own = OwnSpans(processor, roots) if suffice(os.environ) else None
    _tracing.spans = Spans(provider.get_tracer(_SCOPE), roots, own)
    _tracing.provider, _tracing.exporter, _tracing.roots = provider, exporter, roots
