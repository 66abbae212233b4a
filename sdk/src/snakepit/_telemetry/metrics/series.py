"""One series of a counter or a histogram, as plain numbers, and how many of them are gone through beside a loop."""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from snakepit._telemetry.metrics.buckets import Bounds
from snakepit._telemetry.metrics.protobuf import Exemplar, Shape

PAUSE_SECONDS = 0.00005

Each = TypeVar("Each")


class Tally:
    """One series of a counter."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count: float = 0


class Distribution:
    """One series of a histogram: how many values each of its fine buckets has, their sum, and of each classic one the last exemplar."""

    __slots__ = ("_all", "_bounds", "counts", "exemplars", "nothing", "sum")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._all = bounds.all
        self.counts: dict[int, int] = {}
        self.exemplars: dict[int, Exemplar] = {}
        self.sum = 0.0
        self.nothing = 0
        """Values of 0, which whoever sees many of them counts here."""

    def observe(self, value: float, trace_id: str = "", span_id: str = "") -> None:
        """Count one more. `trace_id`, `span_id`: of the span that shows it, if one does."""
        self._count(bisect_left(self._all, value), 1)
        self.sum += value
        if trace_id:
            self.shown(value, trace_id, span_id)

    def observe_all(self, values: Sequence[float]) -> None:
        """Count each. Of many, most are in the same few buckets, each of which is looked up once."""
        bounds, ascending, at = self._all, sorted(values), 0
        while at < len(ascending):
            fine = bisect_left(bounds, ascending[at])
            end = bisect_right(ascending, bounds[fine], at) if fine < len(bounds) else len(ascending)
            self._count(fine, end - at)
            at = end
        self.sum += sum(values)

    def _count(self, fine: int, count: int) -> None:
        self.counts[fine] = self.counts.get(fine, 0) + count

    def shown(self, value: float, trace_id: str, span_id: str) -> None:
        """One that is counted is shown by that span."""
        self.exemplars[self._bounds.classic_of[bisect_left(self._all, value)]] = Exemplar(trace_id, value, time.time(), span_id)

    def shape(self, labels: Mapping[str, str]) -> Shape:
        """What there is now."""
        counts = dict(self.counts)
        counts[0] = counts.get(0, 0) + self.nothing
        cumulative = self._bounds.cumulative(counts)
        bounds = (*self._bounds.classic, math.inf)
        buckets = tuple((bound, count, self.exemplars.get(at)) for at, (bound, count) in enumerate(zip(bounds, cumulative, strict=True)))
        return Shape(labels, cumulative[-1], self.sum, buckets, self._bounds.native(counts))


class Polite(list[Each]):
    """What is made text of in a thread beside a loop. After `most` others may go on: an interpreter's lock is else kept for 5 ms at a time,
    for which each turn of the loop would wait."""

    def __init__(self, each: Iterable[Each], most: int) -> None:
        super().__init__(each)
        self._most = most

    def __iter__(self) -> Iterator[Each]:
        for count, each in enumerate(super().__iter__(), 1):
            yield each
            if not count % self._most:
                time.sleep(PAUSE_SECONDS)
