"""A call's trace in the worker: what OpenTelemetry's API in an author's image says is current."""

from __future__ import annotations

import contextvars
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider

from snakepit._ipc.frames import Payload
from snakepit._ipc.worker import CallFrame
from snakepit._telemetry.traceparent import NOT_SAMPLED
from snakepit_worker import traces

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-02"
NEARLY = [SAMPLED[:-1], SAMPLED + "1", SAMPLED.upper(), SAMPLED.replace("-", "_"), ""]


def frame(traceparent: str, **metadata: str) -> CallFrame:
    return CallFrame(1, "c", "t", Payload(b"{}"), traceparent=traceparent, metadata=metadata)


def within(traceparent: str, **metadata: str) -> contextvars.Context:
    """A context in which that is current, as around a tool."""
    context = contextvars.copy_context()
    context.run(traces.make_current, frame(traceparent, **metadata))
    return context


@given(st.text().filter(lambda text: text != NOT_SAMPLED) | st.sampled_from(NEARLY))
def test_what_is_no_traceparent_is_no_trace(text: str) -> None:
    inside = within(text)
    assert not inside.run(trace.get_current_span).get_span_context().is_valid
    assert inside.run(traces.current, text) == text


def test_the_authors_spans_are_below_the_tool_and_what_they_call_is_below_them() -> None:
    tracer = TracerProvider().get_tracer("author")

    def tool() -> tuple[str, str, str]:
        with tracer.start_as_current_span("own") as span:
            inside = traces.current(SAMPLED)
        return f"{span.get_span_context().span_id:016x}", f"{span.parent.span_id:016x}", inside  # type: ignore[attr-defined]

    own, parent, inside = within(SAMPLED).run(tool)
    assert parent == PARENT
    assert inside == f"00-{TRACE}-{own}-01"
    assert within(SAMPLED).run(traces.current, SAMPLED) == SAMPLED
    assert not trace.get_current_span().get_span_context().is_valid, "it is the tool's context alone"


def test_the_authors_spans_are_not_sampled_where_the_caller_does_not() -> None:
    for unsampled in (UNSAMPLED, NOT_SAMPLED):
        span = within(unsampled).run(TracerProvider().get_tracer("author").start_span, "own")
        assert not span.is_recording()
        assert within(unsampled).run(traces.current, unsampled) == unsampled


def test_a_span_of_another_trace_is_not_taken_for_this_calls() -> None:
    tracer = TracerProvider().get_tracer("author")
    with tracer.start_as_current_span("elsewhere"):
        assert traces.current(SAMPLED) == SAMPLED


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
def test_the_traces_state_goes_on_with_what_the_author_does(traceparent: str) -> None:
    inside = within(traceparent, tracestate="vendor=1,other=2")
    span = inside.run(TracerProvider().get_tracer("author").start_span, "own")
    assert span.get_span_context().trace_state.to_header() == "vendor=1,other=2"


@pytest.mark.parametrize("traceparent", [SAMPLED, NOT_SAMPLED, ""])
def test_the_calls_baggage_is_current_in_the_tool_alone(traceparent: str) -> None:
    inside = within(traceparent, baggage="customer=ada,tier=gold;p=1")
    assert inside.run(baggage.get_all) == {"customer": "ada", "tier": "gold;p=1"}
    assert not baggage.get_all()


@given(st.text())
def test_what_is_no_state_and_no_baggage_ends_no_call(text: str) -> None:
    inside = within(SAMPLED, tracestate=text, baggage=text)
    assert inside.run(trace.get_current_span).get_span_context().trace_id == int(TRACE, 16)


def test_without_opentelemetry_nothing_is_current_and_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    traces.make_current(frame(SAMPLED, baggage="customer=ada"))
    assert traces.current(SAMPLED) == SAMPLED
    assert not [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]
