"""When counts are written to statuses: soon where few pools have other ones than before, and within five seconds wherever many do."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable

import pytest

from snakepit_operator.pace import MOST_SECONDS, POOL_SECONDS, WRITES_PER_SECOND, Pace

TELLS_SECONDS = 0.25
"""So often a replica tells of pools whose calls come and go all the time."""


def written(pools: int, seconds: float, is_busy: Callable[[float], bool] = lambda _: True) -> dict[str, list[float]]:
    """When each is written, while all of them change whenever a replica tells."""
    pace, found = Pace(), {f"pool-{number}": list[float]() for number in range(pools)}
    for tell in range(int(seconds / TELLS_SECONDS)):
        now = tell * TELLS_SECONDS
        for pool, at in found.items():
            due = now + pace.after(pool, now) if is_busy(now) else now
            if is_busy(now) and (not at or due > at[-1]):
                at.append(due)
    return found


def test_counts_that_change_after_a_rest_are_written_at_once() -> None:
    assert Pace().after("a", 100.0) == 0.0


def test_a_pool_keeps_the_turn_that_it_has() -> None:
    pace = Pace()
    first = [pace.after(pool, 100.0) for pool in ("a", "b", "c")]
    assert first == [pytest.approx(number / WRITES_PER_SECOND) for number in range(3)]
    assert pace.after("c", 100.0) == first[2]


@pytest.mark.parametrize("pools", [1, 5, 9])
def test_of_a_few_pools_each_is_written_twice_a_second_as_long_as_its_counts_go_on_changing(pools: int) -> None:
    for at in written(pools, 30.0).values():
        gaps = [after - before for before, after in itertools.pairwise(at)]
        assert min(gaps) >= POOL_SECONDS - 1e-9
        assert max(gaps) <= POOL_SECONDS + TELLS_SECONDS + pools / WRITES_PER_SECOND


def test_of_many_pools_all_together_have_the_writes_that_there_are_and_none_is_forgotten() -> None:
    found = written(60, 60.0)
    assert sum(map(len, found.values())) <= 60.0 * WRITES_PER_SECOND + MOST_SECONDS * WRITES_PER_SECOND
    assert all(max(after - before for before, after in itertools.pairwise(at)) <= MOST_SECONDS for at in found.values())


def test_of_more_pools_than_that_each_waits_for_five_seconds_at_most() -> None:
    for at in written(500, 60.0).values():
        assert max(after - before for before, after in itertools.pairwise(at)) <= MOST_SECONDS + TELLS_SECONDS


def test_many_that_have_ceased_to_change_keep_nobody_waiting() -> None:
    pace = Pace()
    for number in range(500):
        pace.after(f"pool-{number}", 0.0)
    assert pace.after("late", MOST_SECONDS + POOL_SECONDS + 1.0) == 0.0


def test_those_that_have_ceased_to_change_are_forgotten_also_beside_one_that_goes_on() -> None:
    pace = Pace()
    for second in range(1000):
        for pool in ("busy", f"pool-{second}"):
            pace.after(pool, float(second))
    assert len(pickle.dumps(pace)) < 300
