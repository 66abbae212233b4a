"""The verdicts of `make bench`."""

from __future__ import annotations

import pytest
from bench.rows import Row, Target, as_json, as_table
from bench.waits import Spell, longest_wrong_wait


def row(value: float, target: Target) -> Row:
    return Row(what="calls/s", figure=12_345.6, unit="/s", baseline=1000.0, against="direct", value=value, target=target)


@pytest.mark.parametrize(
    ("relation", "value", "met"), [("≥", 3.0, True), ("≥", 2.99, False), ("≤", 3.0, True), ("≤", 3.01, False), ("<", 3.0, False)]
)
def test_a_row_is_met_when_its_value_is_on_the_right_side_of_the_target(relation: str, value: float, met: bool) -> None:
    assert row(value, Target(relation, 3.0)).met is met


def test_the_table_says_figure_baseline_ratio_target_and_verdict() -> None:
    assert as_table([row(2.5, Target("≥", 3.0))]) == [("calls/s", "12,346 /s", "1,000 /s direct", "2.5x", "≥ 3x", "", "missed")]


def test_the_json_has_the_verdict() -> None:
    (found,) = as_json([row(3.5, Target("≥", 3.0))])
    assert (found["met"], found["target"], found["figure"]) == (True, "≥ 3x", 12_345.6)


def test_waiting_while_a_worker_idles_is_found_and_waiting_for_busy_workers_is_not() -> None:
    first = Spell(asked=0.0, begun=0.0, ended=1.0)
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.0, ended=2.0)], workers=1) == 0.0
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.25, ended=2.0)], workers=1) == 0.25
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.25, ended=2.0)], workers=2) == 0.75
    two_busy = [first, Spell(asked=0.0, begun=0.0, ended=1.0)]
    assert longest_wrong_wait([*two_busy, Spell(asked=0.75, begun=1.0, ended=2.0)], workers=2) == 0.0
