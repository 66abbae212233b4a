"""Random schedules of a cluster and its operators. A seed that fails is named, with what happened and the command that plays it again.

This is a quarter of them, and the only one where few are asked for (`operator_quarters`).
"""

from __future__ import annotations

import pytest
from simulation.operator_api import NAMESPACE
from simulation.operator_quarters import a_quarter
from simulation.operator_world import World

from support.seeds import determines

test_whatever_happens_pools_become_what_they_should_be_and_nothing_that_works_is_harmed = a_quarter(0)


@pytest.mark.timeout(300)
def test_the_seed_determines_what_operators_do() -> None:
    assert determines("play(seed)", "simulation.operator_play", 4)


@pytest.mark.parametrize(("warm_up", "within"), [(5.0, 120.0), (183.0, 243.0), (3600.0, 360.0)])
def test_a_pool_has_longer_to_shrink_where_a_pod_was_stuck_and_never_for_ever(warm_up: float, within: float) -> None:
    world = World(0)
    world.server.pools()["digits"] = {"spec": {"autoscaling": {"scaleDownStabilizationSeconds": 20}}}
    world.nodes.longest[f"{NAMESPACE}/digits"] = warm_up
    assert world.shrinks("digits") == within
