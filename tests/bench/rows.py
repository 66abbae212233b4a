"""What every benchmark gives: rows of one form, each with the figure, its baseline, the target and whether that was met. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

NOISE = 2.0
"""A shared machine may be so many times worse at one side of a ratio than at the other, and not more: that is no noise."""

_HOLDS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType({"≥": operator.ge, "≤": operator.le, "<": operator.lt})


@dataclass(frozen=True)
class Target:
    """What must be reached: `Target("≥", 3, "x")` for a ratio, `Target("≤", 0.3, "ms")` for a figure."""

    relation: str
    value: float
    unit: str = "x"

    def is_met_by(self, value: float) -> bool:
        return _HOLDS[self.relation](value, self.value)

    def is_far_from(self, value: float) -> bool:
        """Of a ratio: it is missed by more than noise. What is no ratio depends on the machine, and only shows."""
        room = 1 / NOISE if self.relation == "≥" else NOISE
        return self.unit == "x" and not _HOLDS[self.relation](value, self.value * room)

    def __str__(self) -> str:
        return f"{self.relation} {number(self.value, self.unit)}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    `figure` is ours, in `unit`; `baseline` the same of `against`, where there is one. `value` is what the target speaks of: a ratio to
    the baseline, or a figure of its own. All three are medians over interleaved rounds. `prototype` is what an early prototype had;
    `note` says what the figure is made of.
    """

    what: str
    figure: float
    unit: str
    value: float
    target: Target
    baseline: float | None = None
    against: str = ""
    prototype: str = ""
    note: str = ""

    @property
    def met(self) -> bool:
        return self.target.is_met_by(self.value)

    @property
    def failed(self) -> bool:
        return self.target.is_far_from(self.value)


def number(value: float, unit: str) -> str:
    """For people: three significant digits, thousands separated."""
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".replace(" x", "x")


def as_table(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """Cells of the columns in `COLUMNS`."""
    return [
        (
            row.what,
            number(row.figure, row.unit),
            "" if row.baseline is None else f"{number(row.baseline, row.unit)} {row.against}",
            number(row.value, row.target.unit),
            str(row.target),
            row.prototype,
            "met" if row.met else "FAILED" if row.failed else "missed",
        )
        for row in rows
    ]


COLUMNS = ("what", "Snakepit", "baseline", "reached", "target", "prototype", "")


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [{**asdict(row), "target": str(row.target), "met": row.met} for row in rows]
