"""A rare delay leaves a quick tool quick; a tool that has become slow is soon known to be."""

from __future__ import annotations

from snakepit._ewma import next_mean

QUICK, SLOW = 0.00001, 0.01


def mean_of(durations: list[float]) -> float:
    mean: float | None = None
    for seconds in durations:
        mean = next_mean(mean, seconds)
    assert mean is not None
    return mean


def test_the_first_call_is_the_mean() -> None:
    assert mean_of([SLOW]) == SLOW


def test_a_delay_once_in_fifty_calls_leaves_a_quick_tool_quick() -> None:
    assert mean_of(([QUICK] * 49 + [SLOW]) * 20) < 0.0001


def test_a_tool_that_takes_long_every_fifth_time_is_slow_in_the_mean() -> None:
    assert mean_of(([QUICK] * 4 + [SLOW]) * 100) > 0.001


def test_a_tool_that_has_become_slow_is_known_to_be_after_a_few_calls() -> None:
    assert mean_of([QUICK] * 100 + [SLOW] * 10) > 0.0005


def test_a_first_call_that_was_slow_is_forgotten() -> None:
    assert mean_of([1.0] + [QUICK] * 200) < 0.0001
