"""What a row of the table of metrics says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

COMPONENTS = ("control-plane", "agent", "operator", "gateway")
"""What `snakepit_build_info` calls them."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the classic buckets of a duration. A scraper that takes native histograms gets finer ones."""

OTHER = "other"
"""The value of a label for whatever isn't told apart."""

OPEN = {
    "pool": "pools that there are",
    "namespace": "namespaces with pools",
    "tool": "tools that the pool offers, and 200 at most; those beyond are `other`",
    "worker": "workers of the capsule",
    "operation": "scripts and commands that we ask the store for",
    "type": "conditions of a pool's status",
    "verb": "verbs that the operator uses",
    "resource": "kinds of objects that the operator asks for",
    "code": "statuses of HTTP",
    "http_route": "paths that the gateway serves",
    "http_response_status_code": "statuses of HTTP",
    "error_type": "statuses of HTTP from 500 on, and empty",
    "component": "components",
    "version": "one",
}
"""Labels without a list of their values, and what bounds them. Any other label of a row has a list in it."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric. `name` as it is scraped, a counter's with `_total`; `unit` of its values: seconds, bytes, ratio, or empty for counts.

    `components`: who tells it. `text`: one sentence. `buckets`: a histogram's upper bounds, ascending. `values`: of a label, all that it
    may be; whatever else comes is counted as OTHER, so that nobody who makes a name up makes a series.
    """

    name: str
    kind: Kind
    text: str
    components: tuple[str, ...]
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = SECONDS
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: a counter's name ends with _total, and no other's does")
        if self.unit and not self.name.removesuffix("_total").endswith(f"_{self.unit}"):
            raise ValueError(f"{self.name}: it must end with its unit, {self.unit}")
        if unknown := set(self.components).difference(COMPONENTS):
            raise ValueError(f"{self.name}: there is no component {unknown.pop()}")
        if unknown := set(self.values).difference(self.labels):
            raise ValueError(f"{self.name}: it has no label {unknown.pop()}")

    def known(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The same, with OTHER for what a label may not be."""
        return tuple(
            OTHER if value not in self.values.get(label, (value,)) else value for label, value in zip(self.labels, labels, strict=True)
        )
