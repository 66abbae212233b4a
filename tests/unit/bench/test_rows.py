"""The verdicts of `make bench`."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.rows import Row, Target, as_json, as_table
from bench.waits import Spell, longest_wrong_wait

from tests.bench import __main__ as bench


def row(value: float, target: Target) -> Row:
    return Row(what="calls/s", figure=12_345.6, unit="/s", baseline=1000.0, against="direct", value=value, target=target)


@pytest.mark.parametrize(
    ("relation", "value", "met"), [("≥", 3.0, True), ("≥", 2.99, False), ("≤", 3.0, True), ("≤", 3.01, False), ("<", 3.0, False)]
)
def test_a_row_is_met_when_its_value_is_on_the_right_side_of_the_target(relation: str, value: float, met: bool) -> None:
    assert row(value, Target(relation, 3.0)).met is met


@pytest.mark.parametrize(
    ("relation", "value", "unit", "failed"),
    [
        ("≥", 1.5, "x", False),
        ("≥", 1.49, "x", True),
        ("≤", 6.0, "x", False),
        ("≤", 6.01, "x", True),
        ("<", 6.0, "x", True),
        ("≤", 100.0, "ms", False),
    ],
)
def test_a_ratio_that_is_twice_as_bad_as_its_target_fails_the_run(relation: str, value: float, unit: str, failed: bool) -> None:
    assert row(value, Target(relation, 3.0, unit)).failed is failed
    assert as_table([row(value, Target(relation, 3.0, unit))])[0][-1] == ("FAILED" if failed else "missed")


def test_the_table_says_figure_baseline_ratio_target_and_verdict() -> None:
    assert as_table([row(2.5, Target("≥", 3.0))]) == [("calls/s", "12,346 /s", "1,000 /s direct", "2.5x", "≥ 3x", "", "missed")]


def test_the_json_has_the_verdict() -> None:
    (found,) = as_json([row(3.5, Target("≥", 3.0))])
    assert (found["met"], found["target"], found["figure"]) == (True, "≥ 3x", 12_345.6)


@pytest.mark.parametrize(
    ("value", "broken", "status"),
    [
        (3.0, [], None),
        (2.0, [], None),
        (1.0, [], "far from its target of ≥ 3x: calls/s, 1x"),
        (3.0, ["calls"], "could not be measured: calls"),
    ],
)
def test_the_exit_status_says_what_was_reached(
    value: float, broken: list[str], status: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "measure", lambda names: ([row(value, Target("≥", 3.0))], broken))
    monkeypatch.setattr(bench, "BUILD", tmp_path)
    monkeypatch.setattr(bench, "OUTPUT", tmp_path / "bench.json")
    ended = None
    try:
        bench.main()
    except SystemExit as error:
        ended = error.code
    assert ended == status


def test_waiting_while_a_worker_idles_is_found_and_waiting_for_busy_workers_is_not() -> None:
    first = Spell(asked=0.0, begun=0.0, ended=1.0)
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.0, ended=2.0)], workers=1) == 0.0
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.25, ended=2.0)], workers=1) == 0.25
    assert longest_wrong_wait([first, Spell(asked=0.5, begun=1.25, ended=2.0)], workers=2) == 0.75
    two_busy = [first, Spell(asked=0.0, begun=0.0, ended=1.0)]
    assert longest_wrong_wait([*two_busy, Spell(asked=0.75, begun=1.0, ended=2.0)], workers=2) == 0.0
