"""`make bench`: each module of GROUPS gives rows; a table with target and verdict on the screen, JSON beside it.

BENCH_ONLY=calls,tail runs only those groups; BENCH_AGAINST=FOLDER compares them with those of another checkout, see `against`. The exit
status is 1 if something could not be measured, or if a ratio is more than twice as bad as its target.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import against
from tests.bench.plane import BUILD
from tests.bench.rounds import ROUND_SECONDS, ROUNDS, RUN, say
from tests.bench.rows import COLUMNS, Row, as_json, as_table, number

OUTPUT = BUILD / "bench.json"
GROUPS = (
    "calls",
    "busy",
    "tail",
    "plain",
    "http",
    "large",
    "tls",
    "trust",
    "records",
    "traces",
    "peers",
    "broker",
    "replicas",
    "capacity",
    "state",
    "decisions",
    "autoscaling",
    "author",
    "capsule",
    "console",
)
"""Modules beside this one, each with `async def rows() -> list[Row]`."""


def chosen_groups() -> list[str]:
    """Raises SystemExit for a name that isn't there."""
    only = [name for name in os.environ.get("BENCH_ONLY", "").split(",") if name]
    unknown = set(only) - set(GROUPS)
    if unknown:
        sys.exit(f"BENCH_ONLY: there is no {', '.join(sorted(unknown))}; the groups are {', '.join(GROUPS)}")
    return only or list(GROUPS)


def measure(names: list[str]) -> tuple[list[Row], list[str]]:
    """All rows, and the names of groups that failed. One that fails doesn't take the others with it."""
    rows: list[Row] = []
    failed = []
    for name in names:
        say(f"== {name}")
        try:
            rows += RUN(importlib.import_module(f"tests.bench.{name}").rows())
        except Exception:
            traceback.print_exc()
            failed.append(name)
    return rows, failed


def show(rows: list[Row]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 180, highlight=False)
    table = Table(title=f"Medians of {ROUNDS} interleaved rounds of {ROUND_SECONDS:g} s on {os.cpu_count()} CPUs")
    for place, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 0 < place < len(COLUMNS) - 1 else "left")
    for cells in as_table(rows):
        table.add_row(*cells)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"{row.what}: {row.note}")


def main() -> None:
    BUILD.mkdir(exist_ok=True)
    if there := os.environ.get("BENCH_AGAINST"):
        against.main(BUILD.parent, Path(there).resolve(), chosen_groups())
        return
    rows, failed = measure(chosen_groups())
    OUTPUT.write_text(json.dumps({"rows": as_json(rows), "failed": failed}, indent=2, ensure_ascii=False) + "\n")
    show(rows)
    print(f"JSON: {OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT}")
    problems = [f"could not be measured: {', '.join(failed)}"] if failed else []
    problems += [f"far from its target of {row.target}: {row.what}, {number(row.value, row.target.unit)}" for row in rows if row.failed]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
