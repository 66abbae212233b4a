"""Our own spans, beside OpenTelemetry's: what they say, what of it is sent, and where they aren't enough."""

from __future__ import annotations

from contextvars import copy_context

import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from snakepit._telemetry.making import Spans
from snakepit._telemetry.otlp import Batch
from snakepit._telemetry.own_spans import MOST_EVENTS, OwnSpan, OwnSpans, suffice
from snakepit._telemetry.roots import Roots
from snakepit._telemetry.sdk_spans import SdkSpan, sender
from snakepit._telemetry.span import Span, SpanEvent

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{PARENT}-01"
STATE = "vendor=1,other=2"


class Made:
    """What a process makes, with what it would send. `own`: our own spans where they do."""

    def __init__(self, *, own: bool, share: float | None = None) -> None:
        self.exporter, self.roots = InMemorySpanExporter(), Roots(share)
        self.provider = provider = TracerProvider(id_generator=self.roots)
        processor = SimpleSpanProcessor(self.exporter)
        provider.add_span_processor(processor)
        self.spans = Spans(provider.get_tracer("snakepit"), self.roots, OwnSpans(processor, self.roots) if own else None)
        self.export = self.spans.export

    def start(self, traceparent: str = "", tracestate: str = "", *, current: bool = False) -> Span:
        span = self.spans.start("call t", traceparent, {"a": "x", "n": 7}, "client", tracestate, current=current)
        assert span is not None
        return span

    @property
    def over(self) -> Batch:
        return Batch(self.exporter.get_finished_spans(), self.provider.resource, InstrumentationScope("snakepit", ""))


def ended(made: Made, traceparent: str, tracestate: str, error: str) -> None:
    """One that has been told all there is."""
    span = made.start(traceparent, tracestate)
    span.rename("call u")
    span.set({"b": True, "f": 0.5, "n": 8})
    span.event("sent", {"w": "é"}, 1_700_000_000_000_000_000)
    span.event("answered", None, 1_700_000_000_000_000_001)
    span.end(error, "maybe", lambda: ({"n": 9, "later": "yes"}, [SpanEvent("known later", 1_700_000_000_000_000_002, {"w": 1})]))


@pytest.fixture(params=[True, False], ids=["ours", "the SDK's"])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(own=request.param)


def plain(spans: ExportTraceServiceRequest) -> list[Sent]:
    """Without what differs from run to run, and what means nothing: the order of attributes, and a status that says nothing."""
    found = [span for resource in spans.resource_spans for scope in resource.scope_spans for span in scope.spans]
    for span in found:
        span.start_time_unix_nano = span.end_time_unix_nano = 0
        span.span_id = b""
        span.attributes.sort(key=lambda each: each.key)
        if not span.status.message:
            span.ClearField("status")
    return found


def around(spans: ExportTraceServiceRequest) -> list[object]:
    return [(resource.resource, [scope.scope for scope in resource.scope_spans]) for resource in spans.resource_spans]


@pytest.mark.parametrize("error", ["", "POOL_SATURATED"])
@pytest.mark.parametrize(("traceparent", "tracestate"), [("", ""), (GIVEN, ""), (GIVEN, STATE), (f"{GIVEN[:-2]}03", "not one")])
def test_our_own_say_what_the_sdks_would(traceparent: str, tracestate: str, error: str) -> None:
    ours, theirs = Made(own=True), Made(own=False)
    for each in (ours, theirs):
        ended(each, traceparent, tracestate, error)
    (own,), (sdk,) = plain(encode_spans(ours.over)), plain(encode_spans(theirs.over))
    assert ours.over[0].instrumentation_scope == theirs.over[0].instrumentation_scope
    if not traceparent:
        own.trace_id = sdk.trace_id = b""
    assert own == sdk
    assert (type(ours.start()), type(theirs.start())) == (OwnSpan, SdkSpan)


def test_what_is_sent_of_them_is_what_the_sdk_would_write() -> None:
    ours = Made(own=True)
    for traceparent, state, error in ((GIVEN, "", ""), ("", "", "x"), (GIVEN, STATE, "POOL_SATURATED"), (f"{GIVEN[:-2]}03", "", "")):
        ended(ours, traceparent, state, error)
    ours.export("tool t", GIVEN, STATE, "00f067aa0ba902b7", (5, 6), {"p": -1}, [SpanEvent("exception", 6, {"m": "no"})], "ValueError")
    copy_context().run(lambda: ours.start("", current=True).end("TOOL_ERROR"))
    assert sorted(plain(ours.over.written()), key=str) == sorted(plain(encode_spans(ours.over)), key=str)
    assert around(ours.over.written()) == around(encode_spans(ours.over))
    assert len(plain(ours.over.written())) == len(ours.over) == 6
    assert not Made(own=True).over.written().resource_spans


def test_values_that_are_equal_and_not_alike_are_not_taken_for_one_another() -> None:
    ours = Made(own=True)
    for value in (1, True, 1.0, "1", "é" * 100, 1 << 40, -1):
        span = ours.start(GIVEN)
        span.set({"a": value})
        span.end()
    assert plain(ours.over.written()) == plain(encode_spans(ours.over))


def test_what_has_to_be_put_together_first_is_said_as_well_and_what_is_said_later_counts(made: Made) -> None:
    span = made.spans.start("call t", GIVEN, lambda: {"a": "x", "n": 7}, "client", "", current=False)
    assert span is not None
    span.set({"n": 8})
    span.end("LATE", "no")
    assert dict(made.over[0].attributes) == {"a": "x", "n": 8, "error.type": "LATE", "snakepit.started": "no"}


def test_one_that_is_over_already_says_when_it_was_and_has_the_id_that_it_was_given(made: Made) -> None:
    below = made.spans.below(GIVEN)
    assert (below[:36], below[52:]) == (f"00-{TRACE}-", "-01")
    made.export("tool t", GIVEN, STATE, below[36:52], (5, 9), {"p": -1}, [SpanEvent("exception", 8, {"m": "no"})], "ValueError")
    (over,) = made.over
    assert (over.start_time, over.end_time, f"{over.context.span_id:016x}") == (5, 9, below[36:52])
    assert (dict(over.attributes), over.status.description) == ({"p": -1, "error.type": "ValueError"}, "ValueError")
    assert [(each.name, each.timestamp) for each in over.events] == [("exception", 8)]
    made.start(GIVEN).end()
    assert f"{made.over[1].context.span_id:016x}" != below[36:52]


def test_below_what_is_not_sampled_there_is_nothing(made: Made) -> None:
    for given in ("", "-", f"{GIVEN[:-1]}0", "made up1"):
        assert not made.spans.below(given)


def test_half_a_character_takes_no_other_span_along() -> None:
    ours = Made(own=True)
    for name, said in (("call t", "x"), ("call \ud800", "x\udfff")):
        span = ours.start(GIVEN)
        span.rename(name)
        span.set({"a": said})
        span.end(said)
    for order in (1, -1):
        found = plain(ours.over[::order].written())[::order]
        assert [each.name for each in found] == ["call t", "call \\ud800"]
        assert [found[1].attributes[0].value.string_value, found[1].status.message] == ["x\\udfff"] * 2


def test_what_is_said_at_once_is_in_order_and_the_last_of_too_many_events_are_kept(made: Made) -> None:
    span = made.start(GIVEN)
    for number in range(MOST_EVENTS + 5):
        span.event(str(number))
    span.end(more=lambda: ({}, [SpanEvent("more", 1, {})]))
    (over,) = made.over
    assert [each.name for each in over.events] == [*(str(number) for number in range(6, MOST_EVENTS + 5)), "more"]
    assert over.start_time <= over.events[0].timestamp <= over.events[-2].timestamp <= over.end_time


def test_nothing_is_added_to_one_that_has_ended(made: Made) -> None:
    span = made.start(GIVEN)
    span.end()
    span.rename("late")
    span.set({"late": 1})
    span.event("late")
    span.end("LATE", "", lambda: ({"late": 1}, []))
    (over,) = made.over
    assert (over.name, dict(over.attributes), list(over.events)) == ("call t", {"a": "x", "n": 7}, [])
    assert over.status.is_unset
    assert not span.is_recording


def test_a_span_is_below_its_sender_and_says_so_to_the_next(made: Made) -> None:
    span = made.start(f"{GIVEN[:-2]}03", STATE)
    assert (span.traceparent[:36], span.traceparent[52:], span.tracestate) == (f"00-{TRACE}-", "-03", STATE)
    assert span.is_recording
    span.end()
    (over,) = made.over
    assert (f"{over.parent.span_id:016x}", over.parent.is_remote) == (PARENT, True)
    assert f"{over.context.span_id:016x}" == span.traceparent[36:52] != PARENT


def test_whoever_samples_nothing_has_no_span(made: Made) -> None:
    for given in ("-", f"{GIVEN[:-1]}0", "made up1", f"00-{'0' * 32}-{PARENT}-01", f"ff{GIVEN[2:]}"):
        assert made.spans.start("x", given, {}, "server", "", current=False) is None


def test_a_new_trace_has_an_id_that_is_sampled_everywhere() -> None:
    ours, elsewhere = Made(own=True, share=0.25), TraceIdRatioBased(0.25)
    for _ in range(50):
        while ours.roots.passes_over():
            pass
        assert isinstance(span := ours.start(), OwnSpan)
        assert elsewhere.should_sample(None, int(span.traceparent[3:35], 16), "x").decision.is_sampled()
    assert isinstance(ours.start(), SdkSpan), "of one that nobody has chosen, the SDK says"


def test_below_a_span_of_the_program_the_sdk_says_what_is(made: Made) -> None:
    with TracerProvider().get_tracer("x").start_as_current_span("theirs") as theirs:
        span = made.start()
    assert isinstance(span, SdkSpan)
    assert span.traceparent[3:35] == f"{theirs.get_span_context().trace_id:032x}"


def test_one_that_is_current_is_the_sdks_whole_span(made: Made) -> None:
    def within() -> None:
        span = made.start(GIVEN, current=True)
        get_current_span().set_attribute("authors", "own")
        span.end()

    copy_context().run(within)
    assert made.over[0].attributes["authors"] == "own"


READ = [
    GIVEN,
    f"{GIVEN[:-2]}03",
    f"{GIVEN[:-2]}05",
    f"{GIVEN[:-2]}00",
    f"01{GIVEN[2:]}",
    f"01{GIVEN[2:]}-more",
    f"{GIVEN}-more",
    f" {GIVEN} ",
    f"{GIVEN}\n",
    f"ff{GIVEN[2:]}",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    GIVEN.upper(),
    "-",
    "",
    "1",
]


@pytest.mark.parametrize("state", ["", STATE, "=", "a=1,a=2", "x=" + "y" * 2000])
@pytest.mark.parametrize("given", READ)
def test_a_sender_is_read_as_the_sdk_reads_it(given: str, state: str) -> None:
    context = TraceContextTextMapPropagator().extract({"traceparent": given, "tracestate": state}, Context())
    said = get_current_span(context).get_span_context()
    found = sender(given, state)
    assert (found is not None) == said.trace_flags.sampled
    if found is not None:
        assert found.context == SpanContext(said.trace_id, said.span_id, True, TraceFlags(said.trace_flags & 0x03), said.trace_state)


@pytest.mark.parametrize(
    ("variables", "enough"),
    [
        ({}, True),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, True),
        ({"OTEL_TRACES_SAMPLER": "ParentBased_Always_On"}, True),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, False),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, False),
        ({"OTEL_TRACES_SAMPLER": "jaeger_remote"}, False),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2"}, False),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "9"}, False),
        ({"OTEL_SPAN_LINK_COUNT_LIMIT": "2"}, True),
    ],
)
def test_where_a_sampler_overrules_senders_or_limits_are_set_the_sdk_makes_all(variables: dict[str, str], enough: bool) -> None:
    assert suffice(variables) is enough
