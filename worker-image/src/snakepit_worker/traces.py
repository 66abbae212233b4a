"""A call's trace inside the worker: the tool's own span, and OpenTelemetry's current context around the author's code.

Nothing here imports OpenTelemetry. Where the author's code has loaded its API, the spans that it makes are below the tool's, and what it
calls is below them; they are sampled if the caller's trace is. Their way to a collector is the author's own.
"""

from __future__ import annotations

import re
import secrets
import sys
from typing import Any

import msgspec

from snakepit._ipc.worker import CallFrame

NOT_SAMPLED = "-"
"""In the place of a traceparent: see `snakepit._telemetry.tracing`."""

_ODD = frozenset("13579bdf")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def own(frame: CallFrame) -> CallFrame:
    """The call, which is traced, under the tool's own span, if the trace is sampled; not traced, if that is no traceparent at all."""
    given = frame.traceparent
    if not is_sampled(given):
        return frame
    return msgspec.structs.replace(frame, traceparent=_under(given, secrets.token_hex(8)) if _is_well_formed(given) else "")


def is_sampled(traceparent: str) -> bool:
    """The lowest bit of the trace flags; others, such as `random`, may be set beside it (https://www.w3.org/TR/trace-context-2/)."""
    return traceparent[-1:] in _ODD


def span_id(traceparent: str) -> str:
    return traceparent.split("-")[2]


def _is_well_formed(traceparent: str) -> bool:
    """A caller may have sent anything."""
    return _TRACEPARENT.fullmatch(traceparent) is not None


def _under(traceparent: str, span: str) -> str:
    version, trace, _, flags = traceparent.split("-")
    return f"{version}-{trace}-{span}-{flags}"


def make_current(traceparent: str) -> None:
    """What this context does from now on belongs under it, as OpenTelemetry's API sees it, where that is loaded."""
    if (api := _api()) is None:
        return
    if traceparent == NOT_SAMPLED:
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
    if not _is_well_formed(traceparent):
        return
    trace, context = api
    _, trace_id, span_id, flags = traceparent.split("-")
    parent = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(int(flags, 16)))
    context.attach(trace.set_span_in_context(trace.NonRecordingSpan(parent)))


def current(traceparent: str) -> str:
    """The span of the author's that is current, if it is of the same trace; else the tool's own."""
    if (api := _api()) is None or not _is_well_formed(traceparent):
        return traceparent
    found = api[0].get_current_span().get_span_context()
    own = f"{found.trace_id:032x}"
    return _under(traceparent, f"{found.span_id:016x}") if found.is_valid and own == traceparent.split("-")[1] else traceparent


def _api() -> tuple[Any, Any] | None:
    """`opentelemetry.trace` and `opentelemetry.context`, where the author's code has loaded both, to their ends."""
    trace, context = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.context")
    if trace is None or context is None or not hasattr(trace, "set_span_in_context") or not hasattr(context, "attach"):
        return None
    return trace, context
