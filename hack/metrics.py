"""docs/metrics.md, for hack/docs.py: every row of the table of metrics, by component."""

from __future__ import annotations

from collections.abc import Iterator

from snakepit._telemetry.metrics import COMPONENTS, TABLE, Metric

PAGE = """# Metrics

Generated from `sdk/src/snakepit/_telemetry/metrics/` by `make docs`; don't edit. This is every metric of every
component, as a scrape of `/metrics` names it. [Observe](observe.md) says where they are served.

`pool` is always `namespace/name`. No label names a session or a call. Calls of a pool's tools beyond 200 have the
`tool` `other`. Each replica of the control plane counts what it does itself: sum over replicas. What each of them sees
whole is told so: take the largest.

A histogram has the classic buckets that are told beside it, or
[finer ones](monitoring.md#native-histograms-and-exemplars) for a Prometheus that takes native histograms.
"""
TITLES = {"control-plane": "Control plane", "agent": "Agent", "operator": "Operator", "gateway": "Gateway"}


def page() -> str:
    """The whole page."""
    shared = [row for row in TABLE if row.components == COMPONENTS]
    lines = [PAGE, "## Every component\n", *_table(shared)]
    for component in COMPONENTS:
        if rows := [row for row in TABLE if component in row.components and row not in shared]:
            lines += [f"## {TITLES[component]}\n", *_table(rows)]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: list[Metric]) -> Iterator[str]:
    yield "| metric | kind | labels | what it says |\n|---|---|---|---|"
    for row in rows:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.text}{_buckets(row)} |"
    yield ""


def _buckets(row: Metric) -> str:
    return f" Buckets: {', '.join(f'{bound:g}' for bound in row.buckets)}." if row.kind == "histogram" else ""
