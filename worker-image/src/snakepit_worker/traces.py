"""A call's trace inside the worker: OpenTelemetry's current context around the author's code.

Nothing here needs OpenTelemetry. Where the author's code has loaded its API, the spans that it makes are below the tool's, which is the
agent's to send, and what it calls is below them; they are sampled if the caller's trace is. Their way to a collector is the author's own.
The caller's baggage is current there, too.
"""

from __future__ import annotations

import importlib
import secrets
import sys
from typing import Any

from snakepit._ipc.worker import CallFrame
from snakepit._telemetry.propagation import BAGGAGE, TRACESTATE
from snakepit._telemetry.traceparent import NOT_SAMPLED, parse, under

API = "opentelemetry.trace"
"""Where that is loaded, the author's code may ask what is current."""


def make_current(frame: CallFrame) -> None:
    """What this context does from now on belongs to the call, and has its baggage, as OpenTelemetry's API sees it, where that is loaded."""
    if (api := _api()) is None:
        return
    trace, context = api
    now = context.get_current()
    if (parent := _parent(trace, frame)) is not None:
        now = trace.set_span_in_context(trace.NonRecordingSpan(parent), now)
    if said := frame.metadata.get(BAGGAGE):
        now = _with_baggage(said, now)
    context.attach(now)


def _parent(trace: Any, frame: CallFrame) -> Any:
    """The tool's own span, as a SpanContext; None: the call isn't traced."""
    traceparent = frame.traceparent
    if traceparent == NOT_SAMPLED:
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    if (given := parse(traceparent)) is None:
        return None
    flags, text = trace.TraceFlags(int(given.flags, 16)), frame.metadata.get(TRACESTATE)
    state = trace.TraceState.from_header([text]) if text else None
    return trace.SpanContext(int(given.trace_id, 16), int(given.span_id, 16), is_remote=True, trace_flags=flags, trace_state=state)


def _with_baggage(text: str, context: Any) -> Any:
    """By the API that the author's code has: the part of it that reads headers needn't be loaded yet."""
    propagation = importlib.import_module("opentelemetry.baggage.propagation")
    return propagation.W3CBaggagePropagator().extract({BAGGAGE: text}, context)


def current(traceparent: str) -> str:
    """The span of the author's that is current, if it is of the same trace; else the tool's own."""
    if (api := _api()) is None or (given := parse(traceparent)) is None:
        return traceparent
    found = api[0].get_current_span().get_span_context()
    is_ours = found.is_valid and f"{found.trace_id:032x}" == given.trace_id
    return under(traceparent, f"{found.span_id:016x}") if is_ours else traceparent


def _api() -> tuple[Any, Any] | None:
    """`opentelemetry.trace` and `opentelemetry.context`, where the author's code has loaded both, to their ends."""
    trace, context = sys.modules.get(API), sys.modules.get("opentelemetry.context")
    if trace is None or context is None or not hasattr(trace, "set_span_in_context") or not hasattr(context, "attach"):
        return None
    return trace, context
