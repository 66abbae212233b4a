"""What a row of the table of metrics says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

COMPONENTS = ("control-plane", "agent", "operator", "gateway")
"""What `snakepit_build_info` calls them."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the classic buckets of a duration. A scraper that takes native histograms gets finer ones."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric. `name` as it is scraped, a counter's with `_total`; `unit` of its values: seconds, bytes, ratio, or empty for counts.

    `labels`: each with what it may be, behind a colon where that needs saying. `components`: who tells it. `text`: one sentence.
    `buckets`: a histogram's upper bounds, ascending.
    """

    name: str
    kind: Kind
    text: str
    components: tuple[str, ...]
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = SECONDS

    def __post_init__(self) -> None:
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: a counter's name ends with _total, and no other's does")
        if self.unit and not self.name.removesuffix("_total").endswith(f"_{self.unit}"):
            raise ValueError(f"{self.name}: it must end with its unit, {self.unit}")
        if unknown := set(self.components).difference(COMPONENTS):
            raise ValueError(f"{self.name}: there is no component {unknown.pop()}")
