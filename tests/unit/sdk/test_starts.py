"""Since when a series that only grows has grown, by what each push found."""

from __future__ import annotations

import random

from snakepit._telemetry.metrics.starts import Starts

ONE, OTHER = {"pool": "a/b", "outcome": "OK"}, {"pool": "a/b", "outcome": "DEADLINE"}


def test_what_goes_on_has_counted_since_the_process_began() -> None:
    starts = Starts(100)
    for now, value in ((110, 0.0), (120, 3.0), (130, 3.0), (140, 4.0)):
        assert starts.of("calls_total", ONE, value) == 100
        starts.pushed(now)


def test_what_comes_later_has_counted_since_the_push_that_did_not_have_it() -> None:
    starts = Starts(100)
    starts.of("calls_total", ONE, 1.0)
    starts.pushed(110)
    assert (starts.of("calls_total", ONE, 1.0), starts.of("calls_total", OTHER, 1.0), starts.of("asked_total", ONE, 1.0)) == (100, 110, 110)


def test_what_is_smaller_or_was_gone_has_begun_anew() -> None:
    starts = Starts(100)
    for now in (110, 120):
        starts.of("calls_total", ONE, 5.0)
        starts.of("calls_total", OTHER, 5.0)
        starts.pushed(now)
    assert starts.of("calls_total", ONE, 4.0) == 120
    starts.pushed(130)
    assert (starts.of("calls_total", ONE, 4.0), starts.of("calls_total", OTHER, 9.0)) == (120, 130)


def test_no_series_is_told_to_have_counted_since_before_it_was_there() -> None:
    """Of random lives of a series: each life's values are told with a start within it or at the push before, and the same throughout."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    starts, now, absent, expected, value = Starts(0), 0, 0, 0, 0.0
    for _ in range(500):
        now += 10
        if rng.random() < 0.2:
            absent, value = now, 0.0
        else:
            expected, value = (absent, value + 1) if value == 0.0 else (expected, value + rng.randrange(3))
            assert starts.of("calls_total", ONE, value) == expected
        starts.pushed(now)
