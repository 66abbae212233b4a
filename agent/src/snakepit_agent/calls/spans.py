"""The span of one call in its capsule: the tool's, measured by its worker, below which is all that the tool does.

Made only where this process traces, and for calls whose trace is sampled. A worker's frames are what its process says, in which the
author's code runs too: of a span it says no more than when its tool ran.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

from snakepit._ipc.frames import CallFailure, ToolFailure
from snakepit._ipc.worker import StateOperation
from snakepit._telemetry import spans, tracing
from snakepit._telemetry.propagation import TRACESTATE
from snakepit._telemetry.span import Span, SpanEvent
from snakepit._telemetry.traceparent import span_id
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.link.translate import Outcome
from snakepit_agent.model.call import HeldCall

MOST_MESSAGE, MOST_TRACEBACK = 1024, 16 * 1024
"""Characters of an exception's, or of a reason, that a span has."""

_LATEST_NS = 1 << 63
_TRACE_ID = len("00-") + 32
"""So far a traceparent says of which trace it is."""


@dataclass(slots=True)
class CallSpan:
    """Of one call that this capsule holds, made when its tool has ended. `sender`: the traceparent that came with it. `given_ns`: when the
    tool began as far as its agent knows, in Unix ns."""

    sender: str
    tracestate: str
    pool: str
    worker: str
    pid: int
    given_ns: int

    def end(self, held: HeldCall, outcome: Outcome, started_ns: int = 0, run_seconds: float = 0.0) -> None:
        """The call is over. `started_ns`: as its worker says, Unix ns; 0: it said nothing, and has died, or was never given the call."""
        error, started = _failed(outcome)
        if not started_ns and started == Started.NO:
            return
        end_ns = started_ns + int(run_seconds * 1e9)
        if not 0 < started_ns <= end_ns < _LATEST_NS:
            started_ns, end_ns = self.given_ns, time.time_ns()
        tracing.export_span(
            f"tool {held.tool}",
            self.sender,
            started_ns,
            end_ns,
            tracestate=self.tracestate,
            span_id=span_id(held.traceparent),
            error=error,
            said=partial(self._about, held.tool, held.call_id, held.session_id, started),
            events=[SpanEvent(spans.EXCEPTION, end_ns, _exception(outcome))] if isinstance(outcome, ToolFailure) else (),
        )

    def _about(self, tool: str, call_id: str, session: str, started: str) -> dict[str, str | int]:
        about: dict[str, str | int] = {**spans.of_call(self.pool, tool, call_id, session), spans.WORKER: self.worker}
        about[spans.PROCESS_ID] = self.pid
        if started:
            about[spans.STARTED] = started
        return about


def begin(held: HeldCall, call: link_pb2.Call, worker: str, pid: int) -> None:
    """Of a call that has been admitted, if its trace is sampled; what comes of it belongs under its span."""
    if below := tracing.below(held.traceparent):
        held.span = CallSpan(held.traceparent, call.metadata.get(TRACESTATE, ""), call.pool, worker, pid, time.time_ns())
        held.traceparent = below


def state(pool: str, held: HeldCall, operation: StateOperation) -> Span | None:
    """Of a state operation of a call that is traced here; the worker says below which span of that trace."""
    if held.span is None or not of_one_trace(operation.traceparent, held):
        return None
    about = spans.of_state(pool, held.session_id, operation.key)
    name, state = f"state {operation.operation}", held.span.tracestate
    return tracing.start_span(name, operation.traceparent, about, kind="client", tracestate=state)


def of_one_trace(traceparent: str, held: HeldCall) -> bool:
    """Does a worker speak of the trace of its own call?"""
    return traceparent[:_TRACE_ID] == held.traceparent[:_TRACE_ID]


def end_state(span: Span, failure: CallFailure | None) -> None:
    """It is answered."""
    span.end(*((failure.reason, Started.of(failure.started)) if failure is not None else ()))


def _failed(outcome: Outcome) -> tuple[str, str]:
    """Its reason, or the class of its exception, and whether the tool may have run; empty: it has not failed."""
    if isinstance(outcome, CallFailure):
        return outcome.reason[:MOST_MESSAGE], Started.of(outcome.started)
    return (outcome.type[:MOST_MESSAGE], Started.YES) if isinstance(outcome, ToolFailure) else ("", "")


def _exception(failure: ToolFailure) -> dict[str, str]:
    """As OpenTelemetry names what was raised. The end of a traceback says most."""
    return {
        "exception.type": failure.type[:MOST_MESSAGE],
        "exception.message": failure.message[:MOST_MESSAGE],
        "exception.stacktrace": failure.traceback[-MOST_TRACEBACK:],
    }
