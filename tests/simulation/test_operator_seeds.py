"""Random schedules of a cluster and its operators. A seed that fails is named, with what happened and the command that plays it again.

SNAKEPIT_OPERATOR_SEEDS: how many seeds, from 0 on; or `first:last`, the last one not included. Beside the former come fresh ones.
"""

from __future__ import annotations

import pytest
from simulation.operator_play import play

from support.seeds import blocks, determines, play_each

SEEDS = 500
"""As many as take a minute and a half of one core; `make simulate` plays 2,000."""
BLOCK = 10


@pytest.mark.parametrize("seeds", blocks("SNAKEPIT_OPERATOR_SEEDS", SEEDS, BLOCK), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_pools_become_what_they_should_be_and_nothing_that_works_is_harmed(seeds: range) -> None:
    play_each(seeds, "SNAKEPIT_OPERATOR_SEEDS", play)


def test_the_seed_determines_what_operators_do() -> None:
    assert determines("play(seed)", "simulation.operator_play", 4)
