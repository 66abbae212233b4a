"""How many capsules a pool needs: Erlang's formula against published values, and what must be true of every recommendation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit.spec.fields import AutoscalingSpec
from snakepit_operator.autoscale import EXACT_SLOTS, MOST_HOLD_SECONDS, Demand, is_idle, recommend, slots_for, stabilized, warm_up

POLICY = AutoscalingSpec(max_replicas=10_000)

DEMANDS = st.builds(
    Demand,
    arrivals_per_second=st.floats(0, 1e5),
    dispersion=st.floats(0, 1e6),
    service_seconds=st.floats(0, 1e4),
    busy_slots=st.floats(0, 1e5),
    waiting=st.integers(0, 10**6),
    idle_seconds=st.floats(0, 1e6),
    drift=st.floats(0, 1e3),
)
POLICIES = st.builds(
    AutoscalingSpec,
    min_replicas=st.integers(0, 50),
    max_replicas=st.integers(50, 10_000),
    target_utilization_percent=st.integers(1, 100),
)
SLOTS = st.integers(1, 256)
WARM_UPS = st.floats(0.01, 3600)


def demand(**fields: Any) -> Demand:
    return Demand(**{"arrivals_per_second": 41.0, "service_seconds": 1.6, "busy_slots": 66.0, **fields})


def capsules(said: Demand, slots: int = 1, warm_up_seconds: float = 12.0, policy: AutoscalingSpec = POLICY) -> int:
    return recommend(said, policy, slots, warm_up_seconds).capsules


def test_the_worked_example_of_call_centres_has_its_fourteen_agents() -> None:
    """100 calls in half an hour of three minutes each, 80 % of them answered within 20 s: 14 agents, who reach 88.8 %."""
    assert math.ceil(slots_for(10, 180, 20, 0.80)) == 14
    assert slots_for(10, 180, 20, 0.888) == pytest.approx(14, abs=0.02)


@pytest.mark.parametrize(("load", "slots", "waits"), [(5, 8, 0.1673), (5, 10, 0.0361), (10, 15, 0.1020), (1, 2, 1 / 3)])
def test_the_share_that_waits_is_that_of_tables_of_erlang_c(load: float, slots: int, waits: float) -> None:
    assert slots_for(load, 1, 0, 1 - waits) == pytest.approx(slots, abs=0.01)


def test_the_approximation_for_many_slots_goes_on_where_the_formula_ends() -> None:
    below, above = slots_for(EXACT_SLOTS - 0.01, 1, 0.05, 0.99), slots_for(EXACT_SLOTS + 0.01, 1, 0.05, 0.99)
    assert above == pytest.approx(below, rel=0.01)


@given(load=st.floats(0, 5000), more=st.floats(0, 100), share=st.floats(0.5, 0.9999))
def test_more_load_never_needs_fewer_slots_and_always_more_than_itself(load: float, more: float, share: float) -> None:
    needed = slots_for(load, 1, 0.05, share)
    assert needed <= slots_for(load + more, 1, 0.05, share) * (1.01 if load + more > EXACT_SLOTS else 1 + 1e-9)
    assert needed >= min(load, EXACT_SLOTS)


@given(said=DEMANDS, policy=POLICIES, slots=SLOTS, warm_up_seconds=WARM_UPS)
def test_whatever_is_said_the_recommendation_is_within_the_bounds_and_a_sentence(
    said: Demand, policy: AutoscalingSpec, slots: int, warm_up_seconds: float
) -> None:
    given = recommend(said, policy, slots, warm_up_seconds)
    assert policy.min_replicas <= given.capsules <= policy.max_replicas
    assert given.reasoning.startswith(f"{given.capsules} capsule")
    assert "nan" not in given.reasoning
    assert "inf" not in given.reasoning
    assert recommend(said, policy, slots, warm_up_seconds) == given


@given(said=DEMANDS, slots=SLOTS, warm_up_seconds=WARM_UPS, more=st.floats(1, 3), waiting=st.integers(0, 1000))
def test_more_calls_never_need_fewer_capsules(said: Demand, slots: int, warm_up_seconds: float, more: float, waiting: int) -> None:
    busier = demand(
        **{field: getattr(said, field) for field in said.__struct_fields__}
        | {"arrivals_per_second": said.arrivals_per_second * more, "busy_slots": said.busy_slots * more, "waiting": said.waiting + waiting}
    )
    assert capsules(said, slots, warm_up_seconds) <= capsules(busier, slots, warm_up_seconds) * 1.01


def test_what_runs_and_what_comes_is_covered_with_room_for_chance() -> None:
    assert 66 < capsules(demand()) < 110


def test_a_pool_of_long_calls_is_sized_by_those_that_run_and_not_by_what_chance_would_do_in_their_lifetime() -> None:
    said = demand(arrivals_per_second=0.2, service_seconds=120.0, busy_slots=24.0)
    assert capsules(said, warm_up_seconds=8) <= 35
    assert capsules(said, warm_up_seconds=600) > capsules(said, warm_up_seconds=8)


def test_slots_that_are_held_without_calls_that_explain_it_are_counted() -> None:
    assert capsules(demand(arrivals_per_second=0.1, service_seconds=0.1, busy_slots=30.0)) >= 30


def test_bursts_and_drift_and_a_slow_setup_need_more() -> None:
    policy = AutoscalingSpec(max_replicas=10_000, target_utilization_percent=100)
    calm = capsules(demand(), policy=policy)
    assert capsules(demand(dispersion=3.0), policy=policy) > calm
    assert capsules(demand(drift=0.5), policy=policy) > calm
    assert capsules(demand(drift=0.5), warm_up_seconds=60, policy=policy) > capsules(demand(drift=0.5), policy=policy)


def test_calls_that_wait_get_slots_of_their_own_if_they_take_longer_than_a_warm_up() -> None:
    idle = demand(arrivals_per_second=0.0, service_seconds=60.0, busy_slots=0.0)
    assert capsules(demand(arrivals_per_second=0.0, service_seconds=60.0, busy_slots=0.0, waiting=10)) == 10
    assert capsules(idle) == 1


def test_the_reasoning_says_what_was_measured_and_which_bound_holds() -> None:
    said = recommend(demand(), AutoscalingSpec(max_replicas=9), 8, 12.0)
    assert said.reasoning == (
        "9 capsules of 8 slots: 41 calls/s × 1.6 s = 66 busy slots, +21 so that 99.5 % wait less than 50 ms, "  # noqa: RUF001
        "which is 11 capsules, and maxReplicas says 9"
    )


def test_the_sentence_of_the_page_is_what_the_formula_says() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/autoscaling.md").read_text()
    assert f"\n{recommend(demand(), AutoscalingSpec(max_replicas=50), 8, 12.0).reasoning}\n" in page


def test_a_pool_goes_to_zero_after_its_idle_time_and_only_if_it_may() -> None:
    quiet = Demand(idle_seconds=300.0)
    assert recommend(quiet, AutoscalingSpec(min_replicas=0, max_replicas=5), 1, 10).capsules == 0
    assert recommend(quiet, AutoscalingSpec(min_replicas=1, max_replicas=5), 1, 10).capsules == 1
    assert recommend(Demand(idle_seconds=299.0), AutoscalingSpec(min_replicas=0, max_replicas=5), 1, 10).capsules == 1


@pytest.mark.parametrize("field", [{"waiting": 1}, {"busy_slots": 0.2}, {"idle_seconds": 1.0}], ids=lambda field: next(iter(field)))
def test_a_pool_with_a_call_is_not_idle(field: dict[str, Any]) -> None:
    policy = AutoscalingSpec(min_replicas=0, max_replicas=5)
    assert is_idle(Demand(idle_seconds=301.0), policy)
    assert not is_idle(Demand(**{"idle_seconds": 301.0, **field}), policy)


def test_the_size_goes_up_at_once_and_down_to_the_most_of_the_window() -> None:
    history = [(0.0, 9), (50.0, 7), (90.0, 3)]
    assert stabilized(history, 100.0, 60.0, 2) == ((50.0, 7), (90.0, 3), (100.0, 2))
    assert stabilized(history, 100.0, 60.0, 8) == ((100.0, 8),)
    assert stabilized(history, 100.0, 0.0, 2) == ((100.0, 2),)


def test_the_warm_up_is_that_of_the_slow_ones() -> None:
    assert warm_up([1.0] * 90 + [30.0] * 10) == 30.0
    assert warm_up([]) > 0
    assert warm_up([7.0]) == 7.0


def test_a_pool_shrinks_no_sooner_than_what_goes_could_be_back_unless_a_capsule_was_stuck() -> None:
    policy = AutoscalingSpec(max_replicas=5, scale_down_stabilization_seconds=10)
    holds = [recommend(demand(), policy, 1, warm_up_seconds).hold_seconds for warm_up_seconds in (1.0, 75.0, 3600.0)]
    assert holds == [10.0, 75.0, MOST_HOLD_SECONDS]
    assert recommend(Demand(idle_seconds=1e4), AutoscalingSpec(min_replicas=0, max_replicas=5), 1, 75.0).hold_seconds == 75.0
