"""Two checkouts in turns: which rows are compared, when one fell, and how the checkouts are run."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench import against
from bench.against import Turn, compare
from bench.rows import Row, Target, as_json

PROGRAM = """
import json, os, pathlib
GROUPS = {groups!r}
if __name__ == "__main__":
    with pathlib.Path({journal!r}).open("a") as journal:
        journal.write({name!r} + " " + os.environ["BENCH_ONLY"] + "\\n")
    pathlib.Path("build").mkdir(exist_ok=True)
    pathlib.Path("build/bench.json").write_text({answer!r})
"""


def rate(value: float, figure: float = 100.0) -> Row:
    return Row(what="calls/s", figure=figure, unit="/s", baseline=50.0, against="direct", value=value, target=Target("≥", 3.0))


def latency(figure: float) -> Row:
    return Row(what="p50", figure=figure, unit="ms", value=figure - 1, target=Target("≤", 0.3, "ms more"))


def turn(*rows: Row) -> Turn:
    return {(each["what"], each["against"]): each for each in as_json(rows)}


@pytest.mark.parametrize(("here", "fell"), [(2.0, False), (1.91, False), (1.89, True)])
def test_a_ratio_that_falls_by_more_than_five_in_a_hundred_has_fallen(here: float, fell: bool) -> None:
    (row,) = compare([(turn(rate(here)), turn(rate(2.0)))] * 3)
    assert row.fell is fell
    assert row.cells()[0] == "calls/s, against direct"
    assert row.cells()[-1] == ("FELL" if fell else "")


@pytest.mark.parametrize(("here", "fell"), [(4.0, False), (4.15, False), (4.25, True)])
def test_a_figure_that_is_to_be_small_has_fallen_when_it_grew(here: float, fell: bool) -> None:
    (row,) = compare([(turn(latency(here)), turn(latency(4.0)))])
    assert row.fell is fell


def test_one_bad_turn_of_three_shows_in_the_spread_and_is_no_verdict() -> None:
    (row,) = compare([(turn(rate(2.0)), turn(rate(2.0))), (turn(rate(1.0)), turn(rate(2.0))), (turn(rate(2.2)), turn(rate(2.0)))])
    assert not row.fell
    assert row.cells()[1:5] == ("2x", "2x", "1.000 (0.50, 1.10)", "1.000 (1.00, 1.00)")


def test_what_a_call_costs_the_processors_is_compared_where_both_tell_it() -> None:
    here, there = (replace(rate(2.0), note=f"CPU µs a call: client 1; sum {total}; more") for total in (110, 99))
    (row,) = compare([(turn(here), turn(there))])
    assert row.cells()[5] == "0.900 (0.90, 0.90)"
    (row,) = compare([(turn(here), turn(rate(2.0)))])
    assert row.cells()[5] == ""


def test_only_rows_that_both_have_in_every_turn_are_compared() -> None:
    both, one = turn(rate(2.0), latency(1.0)), turn(rate(2.0))
    assert [row.what for row in compare([(both, both), (both, one)])] == ["calls/s, against direct"]


class Checkouts:
    """Two folders that look like checkouts; each bench writes down that it ran, and gives what it is told to give."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there, self._journal = folder / "here", folder / "there", folder / "journal"

    def make(self, checkout: Path, value: float, groups: tuple[str, ...] = ("calls",), failed: tuple[str, ...] = ()) -> None:
        answer = json.dumps({"rows": as_json([rate(value)]), "failed": failed})
        own: dict[str, Any] = {"groups": groups, "journal": str(self._journal), "name": checkout.name, "answer": answer}
        bench = checkout / "tests/bench/__main__.py"
        bench.parent.mkdir(parents=True)
        bench.write_text(PROGRAM.format(**own))
        python = checkout / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)

    def ran(self) -> list[str]:
        return self._journal.read_text().splitlines()


@pytest.fixture
def checkouts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkouts:
    monkeypatch.setattr(against, "TURNS", 2)
    return Checkouts(tmp_path)


def test_checkouts_run_in_turns_with_the_groups_that_both_know(checkouts: Checkouts, capsys: pytest.CaptureFixture[str]) -> None:
    checkouts.make(checkouts.here, 2.0, ("calls", "broker"))
    checkouts.make(checkouts.there, 2.0)
    against.main(checkouts.here, checkouts.there, ["calls", "broker"])
    assert checkouts.ran() == ["here calls", "there calls", "there calls", "here calls"]
    said = capsys.readouterr()
    assert "1.000 (1.00, 1.00)" in said.out
    assert "there is no broker there" in said.err


@pytest.mark.parametrize(
    ("here", "failed", "status"),
    [(1.0, (), "fell below 0.95 of what it is there: calls/s, against direct"), (2.0, ("tail",), "could not be measured: tail in ")],
)
def test_a_row_that_fell_or_could_not_be_measured_ends_it_with_a_sentence(
    checkouts: Checkouts, here: float, failed: tuple[str, ...], status: str
) -> None:
    checkouts.make(checkouts.here, here, failed=failed)
    checkouts.make(checkouts.there, 2.0)
    with pytest.raises(SystemExit, match=status):
        against.main(checkouts.here, checkouts.there, ["calls"])


def test_a_folder_that_is_no_checkout_is_said(checkouts: Checkouts) -> None:
    with pytest.raises(SystemExit, match="is no checkout"):
        against.main(checkouts.here, checkouts.there, ["calls"])
