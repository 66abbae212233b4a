"""Random schedules of a cluster and its operators. A seed that fails is named, with what happened and the command that plays it again.

This is a quarter of them, and the only one where few are asked for (`operator_quarters`).
"""

from __future__ import annotations

from simulation.operator_quarters import a_quarter

from support.seeds import determines

test_whatever_happens_pools_become_what_they_should_be_and_nothing_that_works_is_harmed = a_quarter(0)


def test_the_seed_determines_what_operators_do() -> None:
    assert determines("play(seed)", "simulation.operator_play", 4)
