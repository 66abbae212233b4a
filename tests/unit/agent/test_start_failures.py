"""What the log says of workers that can't start: each cause once, then seldomer and seldomer that it lasts."""

from __future__ import annotations

import itertools

from snakepit_agent.model.start_failures import MOST_CAUSES, PAUSES, StartFailures, cause

A = cause("SetupFailed", "OSError: no model")


def test_a_cause_is_news_once() -> None:
    starts = StartFailures()
    assert [starts.is_news(A, 0.0), starts.is_news(A, 0.1)] == [True, False]
    assert starts.is_news(cause("SetupFailed", "OSError: no other model"), 0.2)
    starts.forget()
    assert starts.is_news(A, 0.3)


def test_addresses_and_numbers_make_no_other_cause() -> None:
    assert cause("SetupFailed", "no <A at 0x7f12ab> in 1523") == cause("SetupFailed", "no <A at 0x8e00> in 77")


def test_that_it_lasts_is_said_at_growing_intervals() -> None:
    starts = StartFailures()
    assert starts.is_news(A, 0.0)
    said = [(second, tries) for second in range(1, 4 * 3600) if (tries := starts.ended(A, float(second)))]
    assert said[:4] == [(10, 10), (30, 30), (70, 70), (150, 150)]
    pauses = [after[0] - before[0] for before, after in itertools.pairwise(said)]
    assert pauses[0] == 2 * PAUSES.first
    assert max(pauses) == PAUSES.longest
    assert pauses == sorted(pauses)


def test_causes_without_end_are_forgotten_oldest_first() -> None:
    starts = StartFailures()
    names = [cause("SetupFailed", "x" * n) for n in range(1, MOST_CAUSES + 2)]
    assert all(starts.is_news(each, 0.0) for each in names)
    assert not starts.is_news(names[-1], 0.0)
    assert starts.is_news(names[0], 0.0)
