"""Spans on their way out, by OpenTelemetry's own exporter; what ours say is written down here.

The SDK writes down whatever an attribute may be, at ten times the price of what ours are: most of what they say has been said before, and
its bytes are kept. Imported only where this process has set up where spans go.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, overload

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode

from snakepit._telemetry.own_spans import OwnSpan
from snakepit._telemetry.sdk_spans import context_of
from snakepit._telemetry.spans import CALL_ID, QUEUE_SECONDS, RUN_SECONDS, SESSION
from snakepit._telemetry.traceparent import span_id, trace_id

_KINDS = {each.name.lower(): each for each in SpanKind}
_UNSET = Status()
_LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = _LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

_MOST_KEPT, _LONGEST_KEPT = 1024, 64
"""Attributes whose bytes are kept, and characters of one."""
_OF_ONE_CALL = frozenset({CALL_ID, SESSION, QUEUE_SECONDS, RUN_SECONDS})
"""No other span says the same."""


class Exporter(OTLPSpanExporter):
    """With a shorter way for ours, of a `library` of that name. An SDK that doesn't ask for it writes them as it does all others."""

    def __init__(self, provider: TracerProvider, library: str) -> None:
        super().__init__()
        self._provider = provider
        self._library = InstrumentationScope(library, "")

    def export(self, spans: Sequence[ReadableSpan | OwnSpan]) -> SpanExportResult:
        return super().export(Batch(spans, self._provider.resource, self._library))

    def _translate_data(self, data: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
        return data.written() if isinstance(data, Batch) else super()._translate_data(data)


class Batch(Sequence[ReadableSpan]):
    """Spans that leave together: as the SDK has those that are over, for whoever looks at them."""

    def __init__(self, spans: Sequence[ReadableSpan | OwnSpan], resource: Resource, library: InstrumentationScope) -> None:
        self._spans, self._resource, self._library = spans, resource, library

    def __len__(self) -> int:
        return len(self._spans)

    @overload
    def __getitem__(self, at: int) -> ReadableSpan: ...

    @overload
    def __getitem__(self, at: slice) -> Batch: ...

    def __getitem__(self, at: int | slice) -> ReadableSpan | Batch:
        if isinstance(at, slice):
            return Batch(self._spans[at], self._resource, self._library)
        span = self._spans[at]
        return _over(span, self._resource, self._library) if isinstance(span, OwnSpan) else span

    def written(self) -> ExportTraceServiceRequest:
        """All of them. The SDK writes down what isn't ours, and what is around those that are."""
        ours = [each for each in self._spans if isinstance(each, OwnSpan)]
        others = [each for each in self._spans if not isinstance(each, OwnSpan)]
        if not ours:
            return encode_spans(others)
        stands_for_ours = ReadableSpan("", OwnSpan.context, resource=self._resource, instrumentation_scope=self._library)
        request = encode_spans([stands_for_ours, *others])
        found = request.resource_spans[0].scope_spans[0].spans
        del found[0]
        for each in ours:
            _write(found, each)
        return request


def _over(span: OwnSpan, resource: Resource, library: InstrumentationScope) -> ReadableSpan:
    attributes, events = span.told()
    return ReadableSpan(
        name=span.name,
        context=context_of(span.traceparent, span.parent),
        parent=None if span.parent is None else span.parent.context,
        resource=resource,
        attributes=attributes,
        events=[Event(each.name, each.attributes, each.at_ns) for each in events],
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=library,
    )


def _write(spans: Any, span: OwnSpan) -> None:
    traceparent, parent = span.traceparent, span.parent
    attributes, events = span.told()
    made = spans.add()
    _say(made, _named(span.name, span.kind, is_root=parent is None), attributes)
    made.trace_id, made.span_id = bytes.fromhex(trace_id(traceparent)), bytes.fromhex(span_id(traceparent))
    made.start_time_unix_nano, made.end_time_unix_nano = span.start_ns, span.end_ns
    if parent is not None:
        made.parent_span_id = bytes.fromhex(span_id(parent.traceparent))
        if parent.state is not None:
            made.trace_state = parent.state.to_header()
    for each in events:
        event = made.events.add()
        _say(event, _happened(each.name), each.attributes)
        event.time_unix_nano = each.at_ns
    if span.error:
        made.status.code, made.status.message = StatusCode.ERROR.value, _text(span.error)


@functools.lru_cache(_MOST_KEPT)
def _named(name: str, kind: str, *, is_root: bool) -> bytes:
    # OTLP counts kinds from one.
    return Sent(name=_text(name), kind=_KINDS[kind].value + 1, flags=_LOCAL if is_root else _REMOTE).SerializeToString()  # type: ignore[arg-type]


@functools.lru_cache(_MOST_KEPT)
def _happened(name: str) -> bytes:
    return Sent.Event(name=name).SerializeToString()


def _say(made: Sent | Sent.Event, parts: bytes, attributes: Mapping[str, Any]) -> None:
    """`parts`: bytes of such a message, which may be strung together (https://protobuf.dev/programming-guides/encoding/#last-one-wins)."""
    of: Any = type(made)
    for key, value in attributes.items():
        if key in _OF_ONE_CALL or (isinstance(value, str) and len(value) > _LONGEST_KEPT):
            _put(made.attributes.add(key=key).value, value)
        else:
            parts += _kept(of, key, value)
    made.MergeFromString(parts)


@functools.lru_cache(_MOST_KEPT, typed=True)
def _kept(of: Any, key: str, value: str | bool | int | float) -> bytes:
    alone: Sent | Sent.Event = of()
    _put(alone.attributes.add(key=key).value, value)
    return alone.SerializeToString()


def _put(to: AnyValue, value: str | bool | int | float) -> None:
    if isinstance(value, str):
        to.string_value = _text(value)
    elif isinstance(value, bool):
        to.bool_value = value
    elif isinstance(value, int):
        to.int_value = value
    else:
        to.double_value = value


def _text(text: str) -> str:
    """Half a character, as JSON may have it, can't be sent, and would take all others along."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
