"""New traces: which aren't sampled is decided as OpenTelemetry's own sampler would."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from snakepit._telemetry.roots import Roots, rate
from snakepit._telemetry.spans import ATTRIBUTES, EVENTS, TABLE
from support.collector import kind_of

MANY = 2000


def test_of_new_traces_the_share_is_sampled_and_the_sdks_sampler_would_decide_the_same_of_each() -> None:
    roots, sampler = Roots(0.25), TraceIdRatioBased(0.25)
    chosen = [roots.generate_trace_id() for _ in range(MANY) if not roots.passes_over()]
    assert 0.15 * MANY < len(chosen) < 0.35 * MANY
    assert all(sampler.should_sample(None, trace, "x").decision.is_sampled() for trace in chosen)
    assert len({*chosen}) == len(chosen)


def test_an_id_that_was_chosen_is_used_once() -> None:
    roots = Roots(0.5)
    while roots.passes_over():
        pass
    assert roots.generate_trace_id() != roots.generate_trace_id()


def test_within_a_span_of_the_program_nothing_begins_anew() -> None:
    roots = Roots(0.0)
    with TracerProvider().get_tracer("x").start_as_current_span("x"):
        assert not roots.passes_over()
    assert roots.passes_over()


@pytest.mark.parametrize(
    ("sampler", "argument", "share"),
    [
        ("", "", None),
        ("parentbased_always_on", "", None),
        ("always_off", "", 0.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "0.01", 0.01),
        ("ParentBased_TraceIdRatio", "0", 0.0),
        ("parentbased_traceidratio", "1", None),
        ("parentbased_traceidratio", "", None),
        ("parentbased_traceidratio", "some", None),
        ("parentbased_traceidratio", "7", None),
        ("jaeger_remote", "0.5", None),
    ],
)
def test_where_the_variables_say_a_share_it_is_that(sampler: str, argument: str, share: float | None) -> None:
    assert rate({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}) == share


def test_where_only_the_sdk_knows_nothing_is_passed_over() -> None:
    roots = Roots(None)
    assert not any(roots.passes_over() for _ in range(MANY))


def test_the_table_of_spans_names_attributes_and_events_that_are_explained_and_each_is_somewhere() -> None:
    assert {name for each in TABLE for name in each.attributes} | {"snakepit.reason"} == {*ATTRIBUTES}
    assert {name for each in TABLE for name in each.events} == {*EVENTS}


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: f"{kind.service}: {kind.name}")
def test_a_span_is_known_by_its_name(kind: object) -> None:
    name = kind.name.format(tool="echo", operation="get", method="POST", route="/v1/x")  # type: ignore[attr-defined]
    assert kind_of(kind.service, name) is kind  # type: ignore[attr-defined]
    assert kind_of("somebody's", name) is None
