"""Thousands of random schedules. A seed that fails is named, with what happened and the command that plays it again.

SNAKEPIT_SEEDS: how many seeds, from 0 on; or `first:last`, the last one not included. Beside the former come fresh ones (support.seeds).
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from simulation.play import Failed, play

from support.seeds import blocks

SEEDS = 2000
BLOCK = 25
"""So few that one test is far from its time-out on a machine with much else to do."""

LINES = 150


@pytest.mark.parametrize("seeds", blocks("SNAKEPIT_SEEDS", SEEDS, BLOCK), ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_whatever_happens_calls_have_one_true_outcome_and_nothing_is_left_over(seeds: range) -> None:
    for seed in seeds:
        again = f"again: SNAKEPIT_SEEDS={seed}:{seed + 1} make simulate"
        try:
            play(seed)
        except Failed as failure:
            print(*failure.trace[:1], *failure.trace[1:][-LINES:], sep="\n")
            pytest.fail(f"{failure}\n{again}", pytrace=False)
        except Exception as error:
            error.add_note(again)
            raise


def test_the_seed_determines_the_run() -> None:
    """Whatever the order of sets and of addresses in this process is."""
    program = "import sys; from simulation.play import play; [print(*play(int(seed)).account.trace) for seed in sys.argv[1:]]"
    traces = [
        subprocess.run(
            [sys.executable, "-c", program, *(str(seed) for seed in range(8))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert traces[0] == traces[1]
    assert traces[0]
