"""A pool's last hour, out of what each replica says of it: counts by minute and bound become rates, percentiles and errors. Pure.

Times are aware datetimes in UTC, durations seconds. As JSON their names are written as the CRD's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from snakepit.client.views import ObjectiveInfo, least_left, objective_infos
from snakepit.v1 import call_pb2

MINUTE = 60.0


class Minute(msgspec.Struct, frozen=True, rename="camel"):
    """Calls that ended in this minute. Percentiles are bounds that so many calls stayed within, a third apart; None: there were none.
    `errors` by reason."""

    begin: datetime
    calls: int
    errors: dict[str, int]
    p50_seconds: float | None
    p99_seconds: float | None
    queue_p99_seconds: float | None


class PoolHistory(msgspec.Struct, frozen=True, rename="camel"):
    """A pool's last hour, the oldest minute first; those without a call are left out. All but `minutes` and
    `objectives` is of the last minute.

    `missing`: the addresses of replicas that did not say theirs in time.
    """

    minutes: list[Minute]
    calls_per_second: float
    p50_seconds: float | None
    p99_seconds: float | None
    errors: dict[str, int]
    missing: tuple[str, ...]
    objectives: tuple[ObjectiveInfo, ...] = ()

    @property
    def budget_left_percent(self) -> int | None:
        """As a PoolInfo's, of all replicas."""
        return least_left(self.objectives)


class _Counts:
    """A minute's, of all replicas."""

    def __init__(self) -> None:
        self.seconds: Counter[int] = Counter()
        self.queue_seconds: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()

    def add(self, minute: call_pb2.GetHistoryResponse.Minute | _Counts) -> None:
        if isinstance(minute, _Counts):
            self.seconds.update(minute.seconds)
            self.queue_seconds.update(minute.queue_seconds)
        else:
            self.seconds.update(dict(enumerate(minute.seconds)))
            self.queue_seconds.update(dict(enumerate(minute.queue_seconds)))
        self.errors.update(minute.errors)


def pool_history(replies: Sequence[call_pb2.GetHistoryResponse], missing: tuple[str, ...]) -> PoolHistory:
    """What the replicas have said, as one history."""
    minutes: defaultdict[int, _Counts] = defaultdict(_Counts)
    bounds, now = list(replies[0].bounds), replies[0].time.ToNanoseconds() / 1e9
    for reply in replies:
        for each in reply.minutes:
            minutes[round(each.begin_time.ToNanoseconds() / 1e9 / MINUTE)].add(each)
    this, lately = int(now // MINUTE), _Counts()
    for index in (this - 1, this):
        if index in minutes:
            lately.add(minutes[index])
    # Of the minute before, the part that is less than a minute ago.
    ago = 1 - now % MINUTE / MINUTE
    calls = sum(minutes[this].seconds.values()) + ago * sum(minutes[this - 1].seconds.values())
    return PoolHistory(
        [_minute(index, counts, bounds) for index, counts in sorted(minutes.items()) if counts.seconds],
        calls / MINUTE,
        _quantile(lately.seconds, bounds, 0.5),
        _quantile(lately.seconds, bounds, 0.99),
        dict(lately.errors),
        missing,
        objective_infos(each for reply in replies for each in reply.objectives),
    )


def _minute(index: int, counts: _Counts, bounds: list[float]) -> Minute:
    waited = Counter(counts.queue_seconds)
    waited[-1] = counts.seconds.total() - waited.total()
    return Minute(
        datetime.fromtimestamp(index * MINUTE, UTC),
        counts.seconds.total(),
        dict(counts.errors),
        _quantile(counts.seconds, bounds, 0.5),
        _quantile(counts.seconds, bounds, 0.99),
        _quantile(waited, bounds, 0.99),
    )


def _quantile(counts: Counter[int], bounds: list[float], share: float) -> float | None:
    """The bound that so many stayed within; -1 counts those without a time, beyond the last bound is taken for it."""
    wanted, seen = share * counts.total(), 0
    for place, count in sorted(counts.items()):
        seen += count
        if count and seen >= wanted:
            return 0.0 if place < 0 else bounds[min(place, len(bounds) - 1)]
    return None
