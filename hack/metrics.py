"""docs/metrics.md, for hack/docs.py: every row of the table of metrics, by component."""

from __future__ import annotations

import math
from collections.abc import Iterator

from snakepit._telemetry.metrics import COMPONENTS, OPEN, TABLE, Metric

PAGE = """# Metrics

Generated from `sdk/src/snakepit/_telemetry/metrics/` by `make docs`; don't edit. This is every metric of every
component, as a scrape of `/metrics` names it. [Observe](observe.md) says where they are served.

`pool` is always `namespace/name`, or empty for calls to a pool that there is not. No label names a session, a call or a
caller. Each replica of the control plane counts what it does itself: sum over replicas. What each of them sees whole is
told so: take the largest.

Times that the control plane measures are exact to a millisecond, as its event loop's clock is. What a tool ran
(`phase="run"`) is exact to a microsecond. Of calls that take less than a millisecond, sums and means say something, and
quantiles of the other times don't.

A histogram has the classic buckets that are told beside it, or
[finer ones](monitoring.md#native-histograms-and-exemplars) for a Prometheus that takes native histograms.
"""

SERIES = """## How many series there are

A number behind a label says how many values it can have. Whatever else comes is counted as `other`: nobody who calls,
or writes a tool, makes a series by making up a name. What other labels can be:

{open}
A replica of the control plane tells at most {pool} series of a pool, and {tool} more of each of its tools, in classic
buckets. They come as they are needed. What is told of a pool ends with it, and what is told of a tool five minutes
after its pool has stopped to offer it.
"""
TITLES = {"control-plane": "Control plane", "agent": "Agent", "operator": "Operator", "gateway": "Gateway"}


def page() -> str:
    """The whole page."""
    shared = [row for row in TABLE if row.components == COMPONENTS]
    lines = [PAGE, "## Every component\n", *_table(shared)]
    for component in COMPONENTS:
        if rows := [row for row in TABLE if component in row.components and row not in shared]:
            lines += [f"## {TITLES[component]}\n", *_table(rows)]
    return "\n".join([*lines, _series()]).rstrip() + "\n"


def _series() -> str:
    bounds = "".join(f"| `{label}` | {what} |\n" for label, what in OPEN.items())
    rows = [row for row in TABLE if "control-plane" in row.components and "pool" in row.labels]
    of_pools, of_tools = (sum(map(most_series, (row for row in rows if ("tool" in row.labels) is which))) for which in (False, True))
    return SERIES.format(open=f"| label | what it can be |\n|---|---|\n{bounds}", pool=of_pools, tool=of_tools)


def most_series(row: Metric) -> int:
    """Of one pool, or tool: what a scrape in classic buckets has."""
    return math.prod(map(len, row.values.values())) * (len(row.buckets) + 3 if row.kind == "histogram" else 1)


def _table(rows: list[Metric]) -> Iterator[str]:
    yield "| metric | kind | labels | what it says |\n|---|---|---|---|"
    for row in rows:
        labels = ", ".join(f"`{label}`" + (f" ({len(row.values[label])})" if label in row.values else "") for label in row.labels)
        yield f"| `{row.name}` | {row.kind} | {labels} | {row.text}{_buckets(row)} |"
    yield ""


def _buckets(row: Metric) -> str:
    return f" Buckets: {', '.join(f'{bound:g}' for bound in row.buckets)}." if row.kind == "histogram" else ""
