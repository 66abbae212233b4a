"""Which calls go out again, how often, and what their callers are told in the end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit._retry import CALLS, FLOOR, SHARE, WINDOW_SECONDS, RetryBudget
from snakepit.client.retries import MOST_TRIES, Tries, is_elsewhere
from snakepit.errors import (
    Draining,
    PoolNotReady,
    PoolSaturated,
    ReplicaLost,
    ServerUnavailable,
    SnakepitError,
    Started,
    StoreUnavailable,
    WorkerBusy,
    WorkerLost,
)

FREE = {"share": 1000.0}


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, MOST_TRIES)), max_size=60), st.randoms(use_true_random=False))
def test_whatever_all_of_a_clients_calls_want_ten_seconds_see_no_more_than_a_twentieth_again_or_three(
    calls: list[tuple[float, int]], source: random.Random
) -> None:
    budget, now, first, more = RetryBudget(), 0.0, list[float](), list[float]()
    for pause, wanted in calls:
        now += pause
        tries = Tries(budget, None, now)
        first.append(now)
        for _ in range(wanted):
            if (wait := tries.once_more(now, source.random)) is None:
                break
            assert 0 <= wait <= CALLS.longest
            more.append(now)
        within = [sum(now - WINDOW_SECONDS < each <= now for each in times) for times in (first, more)]
        assert within[1] <= max(FLOOR, SHARE * within[0])


def test_a_call_goes_out_no_more_than_five_times() -> None:
    tries = Tries(RetryBudget(**FREE), None, 0.0)
    assert [tries.once_more(0.0, random.random) is not None for _ in range(MOST_TRIES)] == [True] * (MOST_TRIES - 1) + [False]
    assert tries.number == MOST_TRIES


def test_a_call_never_goes_out_again_after_its_deadline() -> None:
    tries = Tries(RetryBudget(**FREE), 10.0, 0.0)
    assert tries.once_more(9.999, lambda: 1.0) is None
    assert tries.once_more(10.0, lambda: 0.0) is None
    assert tries.once_more(9.9, lambda: 0.0) == 0.0


def test_a_call_that_links_break_under_before_it_leaves_gives_up_after_five() -> None:
    tries = Tries(RetryBudget(floor=0), None, 0.0)
    assert [tries.still_unsent() for _ in range(MOST_TRIES)] == [True] * (MOST_TRIES - 1) + [False]


@pytest.mark.parametrize("error", [Draining("x"), PoolNotReady("x"), StoreUnavailable("x"), ServerUnavailable("x")], ids=repr)
def test_another_replica_is_asked_where_one_cant_take_a_call_just_now(error: SnakepitError) -> None:
    assert is_elsewhere(error)


@pytest.mark.parametrize(
    "error",
    [
        PoolSaturated("x"),
        WorkerBusy("x"),
        WorkerLost("x"),
        ReplicaLost("x"),
        StoreUnavailable("x", started=Started.MAYBE),
        ServerUnavailable("x", started=Started.MAYBE),
    ],
    ids=repr,
)
def test_another_replica_is_not_asked_about_what_may_have_run_or_is_the_pools_own_answer(error: SnakepitError) -> None:
    assert not is_elsewhere(error)


def test_a_call_that_may_have_run_is_not_said_to_have_never_started_because_its_repeat_was_refused() -> None:
    tries = Tries(RetryBudget(), None, 0.0)
    refused = PoolSaturated("full")
    assert tries.told(refused) is refused
    tries.lost = lost = ReplicaLost("gone")
    assert tries.told(refused) is lost
    assert lost.__cause__ is refused
    ran = WorkerLost("died")
    assert tries.told(ran) is ran
