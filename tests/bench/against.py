"""Two checkouts in turns: what each row reaches here and there, and the ratio of both with its spread. `BENCH_AGAINST=FOLDER make bench`.

A turn runs `python -m tests.bench` of either checkout, in its own .venv, and reads the JSON that it writes; who begins changes from turn to
turn. BENCH_TURNS (5) is how many there are; BENCH_ONLY, BENCH_CALLERS, BENCH_ROUNDS and BENCH_ROUND_SECONDS hold for both checkouts.
What must have been made there is its .venv, and its .venv-bench for the rows that compare with other programs.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench.rounds import say
from tests.bench.rows import number

LEAST = 0.95
"""A row that reaches less than this share of what it reaches there has fallen."""
GROUPS = "from tests.bench.__main__ import GROUPS; print(*GROUPS)"

TURNS = int(os.environ.get("BENCH_TURNS", "5"))

Turn = dict[tuple[str, str], dict[str, Any]]
"""A run's rows, by what they are and against what."""
Pairs = Sequence[tuple[float, float]]
"""Here and there, by turn."""


@dataclass(frozen=True)
class Compared:
    """A row in both checkouts, turn by turn. `reached` is what is judged: a ratio to a baseline as such, of any other row the figure."""

    what: str
    target: str
    unit: str
    reached: Pairs
    figures: Pairs
    cpu: Pairs = ()
    """µs of a call, all programs together, where the row's note has them: a busy machine blurs these least."""

    @property
    def ratios(self) -> list[float]:
        """More is better."""
        return self._ratios(self.reached, more=self.target.startswith("≥"))

    @staticmethod
    def _ratios(pairs: Pairs, *, more: bool) -> list[float]:
        return [here / there if more else there / here for here, there in pairs if here and there]

    @property
    def fell(self) -> bool:
        return bool(self.ratios) and statistics.median(self.ratios) < LEAST

    def cells(self) -> tuple[str, ...]:
        here, there = (number(statistics.median(side), self.unit) for side in zip(*self.reached, strict=True))
        figures = self._ratios(self.figures, more=self.target.startswith("≥"))
        cpu = self._ratios(self.cpu, more=False)
        return (self.what, here, there, _spread(self.ratios), _spread(figures), _spread(cpu), "FELL" if self.fell else "")


COLUMNS = ("what", "here", "there", "ratio (from, to)", "of the figures alone", "of the CPU time of a call", "")
CPU = re.compile(r"CPU µs a call: .*; sum (\d+);")


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.2f}, {max(ratios):.2f})" if ratios else ""


def compare(turns: Sequence[tuple[Turn, Turn]]) -> list[Compared]:
    """Rows that every turn has on both sides. Pure."""
    common = [key for key in turns[0][0] if all(key in side for turn in turns for side in turn)]
    return [_compared(key, turns) for key in common]


def _compared(key: tuple[str, str], turns: Sequence[tuple[Turn, Turn]]) -> Compared:
    row = turns[0][0][key]
    is_ratio = row["target"].endswith("x")
    figures = [(here[key]["figure"], there[key]["figure"]) for here, there in turns]
    values = [(here[key]["value"], there[key]["value"]) for here, there in turns]
    what, against = key
    name = f"{what}, against {against}" if against else what
    found = [[CPU.search(side[key]["note"]) for side in turn] for turn in turns]
    cpu = [(float(here[1]), float(there[1])) for here, there in found if here and there]
    return Compared(name, row["target"], "x" if is_ratio else row["unit"], values if is_ratio else figures, figures, cpu)


# ---- running


def groups(checkout: Path) -> list[str]:
    """Those that it knows."""
    return _python(checkout, "-c", GROUPS, stdout=subprocess.PIPE).stdout.split()


def turn(checkout: Path, only: Sequence[str]) -> tuple[Turn, list[str]]:
    """One run's rows, and the groups that could not be measured. What it says about its targets is no concern of ours."""
    output = checkout / "build/bench.json"
    output.unlink(missing_ok=True)
    _python(checkout, "-m", "tests.bench", stdout=subprocess.DEVNULL, check=False, BENCH_ONLY=",".join(only))
    if not output.exists():
        sys.exit(f"{checkout}: `python -m tests.bench` ended without a figure")
    found = json.loads(output.read_text())
    return {(row["what"], row["against"]): row for row in found["rows"]}, found["failed"]


def _python(checkout: Path, *argv: str, check: bool = True, stdout: int, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name != "BENCH_AGAINST"}
    return subprocess.run(
        [checkout / ".venv/bin/python", *argv], cwd=checkout, env={**own, **environment}, stdout=stdout, check=check, text=True
    )


def main(here: Path, there: Path, wanted: Sequence[str]) -> None:
    """Ends with status 1 if a row fell, or if a group could not be measured."""
    if not (there / ".venv/bin/python").exists():
        sys.exit(f"BENCH_AGAINST: {there} is no checkout with a .venv; `make setup` there makes it")
    known = groups(there)
    only = [name for name in wanted if name in known]
    say("".join(f"there is no {name} there\n" for name in wanted if name not in known))
    turns, failed = [], set()
    for count in range(TURNS):
        found = {}
        for checkout in (here, there) if count % 2 == 0 else (there, here):
            say(f"==== turn {count + 1} of {TURNS}: {checkout}")
            found[checkout], broken = turn(checkout, only)
            failed |= {f"{name} in {checkout}" for name in broken}
        turns.append((found[here], found[there]))
    rows = compare(turns)
    _show(rows)
    problems = [f"could not be measured: {', '.join(sorted(failed))}"] if failed else []
    problems += [f"fell below {LEAST:g} of what it is there: {row.what}" for row in rows if row.fell]
    if problems:
        sys.exit("\n".join(problems))


def _show(rows: Sequence[Compared]) -> None:
    table = Table(title=f"{TURNS} turns; more than 1 is better than there")
    for place, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 0 < place < len(COLUMNS) - 1 else "left")
    for row in rows:
        table.add_row(*row.cells())
    Console(width=None if sys.stdout.isatty() else 180, highlight=False).print(table)
