"""Random schedules of a cluster and its operators: the third quarter of them (`operator_quarters`)."""

from __future__ import annotations

from simulation.operator_quarters import a_quarter

test_whatever_happens_pools_become_what_they_should_be_and_nothing_that_works_is_harmed = a_quarter(2)
