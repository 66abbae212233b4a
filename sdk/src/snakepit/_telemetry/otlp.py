"""Spans on their way out, by OpenTelemetry's own exporter; what ours say is written down here.

The SDK writes down whatever an attribute may be, at five times the price of what ours are. Imported only where this process has set up
where spans go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode

from snakepit._telemetry.own_spans import OwnSpan
from snakepit._telemetry.sdk_spans import context_of

_KINDS = {each.name.lower(): each for each in SpanKind}
_UNSET = Status()
_LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class Over(ReadableSpan):
    """One of ours, as the SDK has those that are over."""


class Exporter(OTLPSpanExporter):
    """With a shorter way for ours, of a `library` of that name. An SDK that doesn't ask for it writes them as it does all others."""

    def __init__(self, provider: TracerProvider, library: str) -> None:
        super().__init__()
        self._provider = provider
        self._library = InstrumentationScope(library, "")

    def export(self, spans: Sequence[ReadableSpan | OwnSpan]) -> SpanExportResult:
        resource, library = self._provider.resource, self._library
        return super().export([over(each, resource, library) if isinstance(each, OwnSpan) else each for each in spans])

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return written(data)


def over(span: OwnSpan, resource: Resource, library: InstrumentationScope) -> Over:
    """Of a span that has ended."""
    return Over(
        name=span.name,
        context=context_of(span.traceparent, span.parent),
        parent=None if span.parent is None else span.parent.context,
        resource=resource,
        attributes=span.attributes,
        events=[Event(each.name, each.attributes, each.at_ns) for each in span.events],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=library,
    )


def written(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """All of them. The SDK writes down what isn't ours, and what is around those that are."""
    ours = [each for each in spans if type(each) is Over]
    others = [each for each in spans if type(each) is not Over]
    if not ours:
        return encode_spans(others)
    request = encode_spans([_empty(ours[0]), *others])
    found = request.resource_spans[0].scope_spans[0].spans
    del found[0]
    for each in ours:
        _write(found, each)
    return request


def _empty(of: Over) -> Over:
    """It stands where those like that one go."""
    return Over("", of.context, resource=of.resource, instrumentation_scope=of.instrumentation_scope)


def _write(spans: Any, span: Over) -> None:
    context, parent = span.context, span.parent
    made = spans.add(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        trace_state=context.trace_state.to_header(),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        flags=_REMOTE if parent and parent.is_remote else _LOCAL,
        name=_text(span.name),
        kind=span.kind.value + 1,  # which OTLP counts from one
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
    )
    _say(made.attributes, span.attributes)
    for each in span.events:
        _say(made.events.add(name=each.name, time_unix_nano=each.timestamp).attributes, each.attributes)
    if span.status.description:
        made.status.code, made.status.message = StatusCode.ERROR.value, _text(span.status.description)


def _say(to: Any, attributes: Mapping[str, Any] | None) -> None:
    for key, each in (attributes or {}).items():
        value = to.add(key=key).value
        if isinstance(each, str):
            value.string_value = _text(each)
        elif isinstance(each, bool):
            value.bool_value = each
        elif isinstance(each, int):
            value.int_value = each
        else:
            value.double_value = each


def _text(text: str) -> str:
    """Half a character, as JSON may have it, can't be sent, and would take all others along."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
