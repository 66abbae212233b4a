"""One look at pools, out of what the control plane says of them: the rows of `snakepit top`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec

from snakepit.client.history import PoolHistory
from snakepit.client.views import PoolInfo, WorkerInfo


class PoolRow(msgspec.Struct, frozen=True, rename="camel"):
    """A pool now. Rates, percentiles and errors are of the last minute; None: there was no call, or they can't be had."""

    name: str
    available: bool
    reason: str
    message: str
    live_capsules: int
    desired_capsules: int
    ready_workers: int
    busy_slots: int
    total_slots: int
    queue_depth: int
    sessions: int
    calls_per_second: float | None = None
    p50_seconds: float | None = None
    p99_seconds: float | None = None
    queue_p99_seconds: float | None = None
    errors: dict[str, int] = {}
    workers: list[WorkerInfo] = []


class Look(msgspec.Struct, frozen=True, rename="camel"):
    """All pools at a time. `missing`: replicas that did not say theirs in time; `problem`: why something is not here."""

    time: datetime
    pools: list[PoolRow]
    missing: list[str] = []
    problem: str = ""

    @property
    def calls_per_second(self) -> float:
        """Of all pools together."""
        return sum(each.calls_per_second or 0.0 for each in self.pools)

    @property
    def errors(self) -> Counter[str]:
        """Of all pools together, by reason."""
        return sum((Counter(each.errors) for each in self.pools), Counter[str]())


def matches(name: str, filter: str) -> bool:
    """Does the filter let a pool of this name through?"""
    return filter.lower() in name.lower()


def row(info: PoolInfo, history: PoolHistory | None, workers: Sequence[WorkerInfo]) -> PoolRow:
    """What is known of a pool, as one row."""
    known = {name: getattr(info, name) for name in PoolRow.__struct_fields__ if name in info.__struct_fields__}
    if history is not None:
        known |= {name: getattr(history, name) for name in ("calls_per_second", "p50_seconds", "p99_seconds", "errors")}
        known["queue_p99_seconds"] = history.minutes[-1].queue_p99_seconds if history.minutes and history.calls_per_second else None
    return PoolRow(**known, workers=list(workers))
