"""Every metric of every component: one row each in `TABLE`, which instruments and docs/metrics.md are made of.

A component's rows are in the module of its name. `instruments` makes counters, gauges and histograms of rows, and of nothing else; it alone
needs prometheus_client (extra `metrics`).
"""

from __future__ import annotations

from snakepit._telemetry.metrics import agent, control_plane, everywhere, gateway, operator
from snakepit._telemetry.metrics.row import COMPONENTS, OPEN, Metric

__all__ = ["COMPONENTS", "OPEN", "TABLE", "Metric", "rows_of"]

TABLE: tuple[Metric, ...] = tuple(
    row for module in (everywhere, control_plane, agent, operator, gateway) for row in vars(module).values() if isinstance(row, Metric)
)
"""In the order of the reference."""


def rows_of(component: str) -> tuple[Metric, ...]:
    """All that a component may tell."""
    return tuple(row for row in TABLE if component in row.components)
