"""When a store is slow, and when it was a blip, with the time in the test's hand."""

from __future__ import annotations

import pytest

from snakepit_control_plane.model.store_pace import SLOW_SPELLS, SPELL_SECONDS, SPELLS, StorePace

QUICK, SLOW = 0.001, 0.4


class Told:
    """A pace that was told of spells, the oldest first, each with so many quick answers and so many slow ones."""

    def __init__(self, *spells: tuple[int, int]) -> None:
        self.now = 1000.0
        self.pace = StorePace(lambda: self.now)
        for quick, slow in spells:
            for seconds in (*[QUICK] * quick, *[SLOW] * slow):
                self.pace.answered(seconds)
            self.now += SPELL_SECONDS
        self.now -= SPELL_SECONDS


def is_slow(*spells: tuple[int, int]) -> bool:
    return Told(*spells).pace.seconds > 0.25


def test_a_store_is_slow_when_one_answer_in_a_hundred_is_in_half_of_the_spells() -> None:
    assert is_slow(*[(90, 2), (90, 0)] * SLOW_SPELLS)
    assert is_slow(*[(0, 1)] * SLOW_SPELLS)
    assert not is_slow(*[(200, 2)] * SPELLS)


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_slow_answers_of_two_spells_are_a_blip_however_many_they_are(slow: int) -> None:
    assert not is_slow(*[(5, 0)] * (SPELLS - slow), *[(0, 100)] * slow)


def test_a_replica_that_has_only_begun_says_nothing() -> None:
    assert Told().pace.seconds == 0.0
    assert not is_slow(*[(0, 9)] * (SLOW_SPELLS - 1))


def test_it_says_about_how_long_the_slow_answers_take() -> None:
    assert SLOW <= Told(*[(90, 2)] * SPELLS).pace.seconds < SLOW * 4 / 3


def test_what_is_a_minute_old_counts_no_more_whether_there_were_answers_since_or_not() -> None:
    told = Told(*[(0, 9)] * SPELLS)
    told.now += (SPELLS - SLOW_SPELLS) * SPELL_SECONDS
    assert told.pace.seconds >= SLOW
    told.now += SPELL_SECONDS
    assert told.pace.seconds == 0.0
    assert not is_slow(*[(0, 9)] * SPELLS, *[(9, 0)] * (SPELLS - SLOW_SPELLS + 1))
