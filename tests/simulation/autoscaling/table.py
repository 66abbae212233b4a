"""The table of docs/autoscaling.md: `python -m tests.simulation.autoscaling.table` prints it, and writes it there with --write."""

from __future__ import annotations

import sys
from pathlib import Path

from .judgement import OURS, SCALERS, Results, beats, judge
from .pool import Outcome

PAGE = Path(__file__).resolve().parents[3] / "docs/autoscaling.md"
BEGIN, END = "<!-- the table of traces: python -m tests.simulation.autoscaling.table --write -->\n", "<!-- end -->\n"


def table(results: Results) -> str:
    """Of each scaler: percent of the calls that were late, how many failed, thousands of capsule-seconds."""
    head = ["trace", "calls", *(f"{name}: late, failed, cost" for name in SCALERS), "beaten in both"]
    lines = [head, ["---"] * len(head)]
    for trace, outcomes in results.items():
        ours = outcomes[OURS]
        beaten = [name for name, outcome in outcomes.items() if name != OURS and beats(ours, outcome)]
        lines.append([trace, f"{ours.calls:,}", *(_cell(outcome) for outcome in outcomes.values()), ", ".join(beaten) or "none"])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def in_page(page: str) -> str:
    """The table as it stands there."""
    return page.partition(BEGIN)[2].partition(END)[0].strip("\n") + "\n"


def _cell(outcome: Outcome) -> str:
    return f"{100 * outcome.late / outcome.calls:.2f} %, {outcome.failed:,}, {outcome.capsule_seconds / 1000:,.0f}"


def main() -> None:
    text = table(judge())
    print(text, end="")
    if "--write" in sys.argv:
        page = PAGE.read_text()
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
