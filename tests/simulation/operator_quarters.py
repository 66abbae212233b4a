"""The seeds of the operator's simulation in four parts: `make test` gives each file to one process, and one with all of them is too much.

SNAKEPIT_OPERATOR_SEEDS: how many seeds, from 0 on; or `first:last`, the last one not included. Beside the former come fresh ones.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulation.operator_play import play

from support.seeds import blocks, play_each

SEEDS = 2000
"""As many as take five minutes of one core."""
BLOCK = 10


def a_quarter(number: int) -> Callable[[range], None]:
    """The test of every fourth block, from that one on."""
    mine = blocks("SNAKEPIT_OPERATOR_SEEDS", SEEDS, BLOCK)[number::4]

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("seeds", mine, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
    def test(seeds: range) -> None:
        play_each(seeds, "SNAKEPIT_OPERATOR_SEEDS", play)

    return test
