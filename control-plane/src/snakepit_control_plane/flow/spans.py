"""The spans that a replica makes of calls: begun when one is admitted, and told what happened to it when it is answered.

Called only where this process traces, and for calls whose trace is sampled. All that a span says at its end is what the call's record
says too; nothing is noted on the way.
"""

from __future__ import annotations

import time
from functools import partial

from snakepit._telemetry import spans, tracing
from snakepit._telemetry.propagation import TRACESTATE
from snakepit._telemetry.span import Attributes, Span, SpanEvent
from snakepit._telemetry.traceparent import NOT_SAMPLED
from snakepit._wire.status import from_frame
from snakepit.errors import Started, ToolError
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.records import MOST_TEXT, Record, record_of
from snakepit_control_plane.model.way import way


def begin(call: Call) -> None:
    """Of a call that comes in; what comes of it belongs under its span. Nothing is known of its names yet: long ones are cut."""
    message = call.message
    if given := message.traceparent:
        if given == NOT_SAMPLED or not tracing.follows(given):
            return
    elif tracing.passes_over():
        message.traceparent = NOT_SAMPLED
        return
    request, tool = call.request, call.tool[:MOST_TEXT]
    about = partial(spans.of_request, request.pool[:MOST_TEXT], tool, request.call_id[:MOST_TEXT], request.session_id[:MOST_TEXT])
    span = tracing.start_span(f"route {tool}", given, about, kind="server", tracestate=message.metadata.get(TRACESTATE, ""))
    if span is not None:
        message.traceparent = span.traceparent
        call.span = span if span.is_recording else None


def asked(call: link_pb2.Call) -> Span | None:
    """Of a tool's call to one that a client offers."""
    about = spans.of_call(call.pool, call.tool, call.call_id, call.session_id)
    state = call.metadata.get(TRACESTATE, "")
    span = tracing.start_span(f"ask {call.tool}", call.traceparent, about, kind="client", tracestate=state)
    if span is not None:
        call.traceparent = span.traceparent
    return span


def end_asked(span: Span, result: link_pb2.Result) -> None:
    """The client has answered. A reason that it made up is INTERNAL."""
    if result.HasField("error"):
        failed = from_frame(result.error)
        span.end(failed.reason, failed.started)
    else:
        span.end(ToolError.reason if result.HasField("tool_error") else "", Started.YES)


def stored(operation: str, pool: str, session: str, traceparent: str, tracestate: str) -> Span | None:
    """Of an operation on a session's state; None: it isn't traced."""
    return tracing.start_span(f"store {operation}", traceparent, spans.of_state(pool, session, ""), kind="server", tracestate=tracestate)


def end(call: Call, span: Span, result: link_pb2.Result, outcome: str, now: float) -> None:
    """The call is answered. `now`: of the loop's clock."""
    record = record_of(call, result, outcome, now)
    more = partial(_more, record, time.time() - now)
    if outcome == "OK":
        span.end(more=more)
    else:
        span.end(outcome, Started.YES if result.HasField("tool_error") else _started(record.started), more)


def _more(record: Record, to_wall: float) -> tuple[Attributes, list[SpanEvent]]:
    events = []
    for each in way(record, ended=True):
        said = {spans.WORKER: each.worker, spans.REASON: each.reason}
        events.append(SpanEvent(each.what, int((to_wall + each.at) * 1e9), {name: text for name, text in said.items() if text}))
    return _figures(record), events


def _figures(record: Record) -> Attributes:
    said: dict[str, str | int | float] = {
        spans.TRIES: sum(each.was_sent for each in record.legs),
        spans.QUEUE_SECONDS: sum(each.queue_seconds for each in record.legs),
        spans.RUN_SECONDS: record.run_seconds,
    }
    if record.worker:
        said[spans.WORKER] = record.worker
    if record.epoch:
        said[spans.EPOCH] = record.epoch
    return said


def _started(number: common_pb2.Started) -> str:
    return Started.of(int(number))
