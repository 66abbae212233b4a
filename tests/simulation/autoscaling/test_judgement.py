"""Pools that size themselves against what others do with the same calls: the table of docs/autoscaling.md, and what it has to say.

How that came about stands in docs/decisions/2026-11-29-how-a-pool-is-sized.md.
"""

from __future__ import annotations

import math
from random import Random

import pytest
from simulation.autoscaling.hpa import Behavior, Hpa
from simulation.autoscaling.judgement import MOST, OURS, Results, dominates, judge, wins
from simulation.autoscaling.keda import Keda
from simulation.autoscaling.ours import Ours
from simulation.autoscaling.pool import SLOTS, Pool, Trace, play
from simulation.autoscaling.ray_serve import RayServe
from simulation.autoscaling.table import PAGE, in_page, table

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def results() -> Results:
    return judge()


def test_no_other_is_better_in_one_column_and_no_worse_in_the_other(results: Results) -> None:
    better = [
        f"{name} in {trace}"
        for trace, outcomes in results.items()
        for name, outcome in outcomes.items()
        if name != OURS and dominates(outcome, outcomes[OURS])
    ]
    assert not better


def test_each_other_is_beaten_in_both_columns_in_at_least_half_of_the_traces(results: Results) -> None:
    beaten = wins(results)
    assert all(2 * len(traces) >= len(results) for traces in beaten.values()), beaten


def test_no_call_fails_that_waits_for_a_pool_of_ours(results: Results) -> None:
    assert {trace: outcomes[OURS].failed for trace, outcomes in results.items()} == dict.fromkeys(results, 0)


def test_the_table_of_the_page_is_the_one_that_comes_out(results: Results) -> None:
    assert in_page(PAGE.read_text()) == table(results), "python -m tests.simulation.autoscaling.table --write"


def constant(seconds: int, busy: float, least: int = 1) -> Trace:
    """Calls of a second each, at even distances."""
    return Trace("constant", float(seconds), [(number / busy, 1.0) for number in range(1, int(seconds * busy))], least)


@pytest.mark.parametrize(("scaler", "capsules"), [(Hpa, 8), (Keda, 8), (RayServe, 10), (Ours, 8)])
def test_under_a_constant_load_each_scaler_has_what_its_target_says(scaler: type, capsules: int) -> None:
    """20 busy slots: by 70 % of four slots, by two ongoing calls, and by what 99 % of the calls need."""
    trace = constant(5400, 20)
    outcome = play(trace, scaler(trace, MOST, 1), 1)
    assert outcome.capsule_seconds / 4800 == pytest.approx(capsules, abs=1)
    assert not outcome.failed


@pytest.mark.parametrize("scaler", [Ours, Keda, RayServe])
def test_who_can_go_to_zero_does_and_comes_back(scaler: type) -> None:
    trace = Trace("one call", 4000.0, [(3000.0, 1.0)], least=0)
    outcome = play(trace, scaler(trace, MOST, 1), 1)
    assert (outcome.calls, outcome.late, outcome.failed) == (1, 1, 0)
    assert 0 < outcome.capsule_seconds < 1000


def test_the_hpa_grows_by_the_larger_of_double_and_four_and_shrinks_to_the_most_of_five_minutes() -> None:
    pool, behavior = Pool((8.0, 0.0), Random(1)), Behavior(1, MOST)
    pool.scale(1)
    sizes = []
    for step in range(30):
        pool.advance(15.0 * step)
        behavior.scale(pool, 40 if step < 5 else 2)
        sizes.append(pool.wanted)
    assert sizes[:5] == [5, 10, 20, 40, 40]
    assert sizes[23] == 40
    assert sizes[-1] == 2


def test_a_capsule_that_goes_finishes_its_calls_and_is_paid_until_then() -> None:
    pool = Pool((1.0, 0.0), Random(1))
    pool.scale(1)
    pool.advance(700.0)
    pool.call(700.0, 50.0)
    pool.scale(0)
    pool.advance(749.0)
    assert pool.busy == 1
    pool.advance(751.0)
    assert not pool.capsules
    assert pool.close().capsule_seconds == pytest.approx(150)


def test_calls_beyond_the_slots_wait_in_order_and_fail_when_their_time_is_over() -> None:
    pool = Pool((1.0, 0.0), Random(1))
    pool.scale(1)
    pool.advance(700.0)
    for _ in range(SLOTS):
        pool.call(700.0, 9.0)
    for _ in range(3):
        pool.call(702.0, 100.0)
    pool.advance(709.5)
    assert (pool.busy, len(pool.queue)) == (3, 0)
    for _ in range(SLOTS):
        pool.call(709.5, 100.0)
    pool.advance(730.0)
    pool.expire()
    outcome = pool.close()
    assert (outcome.calls, outcome.late, outcome.failed) == (11, 6, 3)


def test_the_seed_determines_the_run() -> None:
    trace = constant(900, 10)
    assert play(trace, Ours(trace, MOST, 7), 7) == play(trace, Ours(trace, MOST, 7), 7)
    assert math.isfinite(play(trace, Ours(trace, MOST, 8), 8).capsule_seconds)
