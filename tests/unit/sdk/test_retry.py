"""The retry budget bounds what is tried again in any ten seconds, whatever comes when."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit._retry import FLOOR, SHARE, WINDOW_SECONDS, Backoff, RetryBudget

PAUSES = [0.0, 0.001, 0.3, 0.999, 1.0, 2.5, 9.99, 10.0, 11.5, 400.0]
steps = st.lists(st.tuples(st.sampled_from(PAUSES), st.integers(0, 60), st.integers(0, 8)))


@given(steps, st.floats(0, 1e9))
def test_whenever_one_is_tried_again_ten_seconds_have_seen_no_more_than_the_share_or_the_floor(
    steps: list[tuple[float, int, int]], now: float
) -> None:
    budget, calls, extra = RetryBudget(), list[float](), list[float]()
    for pause, counted, wanted in steps:
        now += pause
        for _ in range(counted):
            budget.count(now)
            calls.append(now)
        for _ in range(wanted):
            if budget.spend(now):
                extra.append(now)
                tried, again = (sum(now - WINDOW_SECONDS < each <= now for each in times) for times in (calls, extra))
                assert again <= max(FLOOR, SHARE * tried)


@given(st.floats(0, 1e9), st.floats(0, 8.9))
def test_all_of_the_share_can_be_spent_on_calls_of_the_last_nine_seconds(start: float, later: float) -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.count(start)
    assert sum(budget.spend(start + later) for _ in range(200)) == int(1000 * SHARE)


@settings(max_examples=30)
@given(st.integers(100, 3000), st.randoms(use_true_random=False))
def test_a_client_and_a_router_that_try_again_all_they_may_make_a_tenth_more_calls_together(calls: int, source: random.Random) -> None:
    client, router, tries = RetryBudget(floor=0), RetryBudget(floor=0), 0

    def arrives(now: float) -> int:
        """At the router, which runs it, and runs it again as often as it may."""
        router.count(now)
        return 1 + sum(router.spend(now) for _ in range(source.randrange(4)))

    for number in range(calls):
        now = 9.9 * number / calls
        client.count(now)
        tries += arrives(now) + sum(arrives(now) for _ in range(source.randrange(4)) if client.spend(now))
    assert tries <= 1.1 * calls


def test_a_budget_that_was_spent_is_there_again_after_eleven_seconds() -> None:
    budget = RetryBudget()
    assert [budget.spend(5.5) for _ in range(FLOOR + 1)] == [True] * FLOOR + [False]
    assert not budget.spend(15.4)
    assert [budget.spend(16.5) for _ in range(FLOOR + 1)] == [True] * FLOOR + [False]


def test_a_caller_that_makes_few_calls_may_retry_too() -> None:
    assert RetryBudget().spend(0.0)
    assert not RetryBudget(floor=0).spend(0.0)


PAUSES = Backoff(0.05, 3.0)


@given(st.integers(1, 100_000), st.randoms(use_true_random=False))
def test_a_pause_is_anywhere_between_none_and_its_bound_which_doubles_up_to_the_longest(failures: int, source: random.Random) -> None:
    bound = PAUSES.seconds(failures)
    assert bound == min(3.0, 0.05 * 2 ** min(failures - 1, 20))
    assert all(0 <= PAUSES.jittered(failures, source.random) <= bound for _ in range(5))
    assert (PAUSES.jittered(failures, lambda: 0.0), PAUSES.jittered(failures, lambda: 1.0)) == (0.0, bound)


def test_one_pause_after_the_other_is_what_so_many_failures_give() -> None:
    pause = 0.0
    for failures in range(1, 20):
        pause = PAUSES.after(pause)
        assert pause == PAUSES.seconds(failures)


def test_two_that_failed_together_come_back_at_different_times() -> None:
    pauses = [PAUSES.jittered(4, random.random) for _ in range(200)]
    assert len(set(pauses)) == 200
    assert max(pauses) - min(pauses) > PAUSES.seconds(4) / 2
