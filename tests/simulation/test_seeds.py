"""Thousands of random schedules. A seed that fails is named, with what happened and the command that plays it again.

SNAKEPIT_SEEDS: how many seeds, from 0 on; or `first:last`, the last one not included. Beside the former come fresh ones (support.seeds).
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from simulation.play import Failed, play

from support.seeds import blocks, determines, play_each

SEEDS = 500
BLOCK = 25
"""So few that one test is far from its time-out on a machine with much else to do."""


def played(seed: int) -> tuple[str, Sequence[str]]:
    try:
        play(seed)
    except Failed as failure:
        return failure.problem, failure.trace
    return "", ()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seeds", blocks("SNAKEPIT_SEEDS", SEEDS, BLOCK), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_calls_have_one_true_outcome_and_nothing_is_left_over(seeds: range) -> None:
    play_each(seeds, "SNAKEPIT_SEEDS", played)


@pytest.mark.timeout(300)
def test_the_seed_determines_the_run() -> None:
    assert determines("play(seed).account.trace", "simulation.play", 8)
