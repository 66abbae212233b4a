"""Counts that every call adds to, kept as plain numbers and turned into Prometheus families only when somebody scrapes.

The library's own counters and histograms take a lock for each of several values: a fifth of what routing a call costs. Everything that
is counted less often than once a call uses them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter. One thread adds; another may scrape."""

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._about = name, text, labels
        self._counts: dict[tuple[str, ...], int] = {}
        registry.register(self)

    def add(self, *labels: str) -> None:
        self._counts[labels] = self._counts.get(labels, 0) + 1

    def value(self, *labels: str) -> int:
        """What has been counted under these labels."""
        return self._counts.get(labels, 0)

    def collect(self) -> Iterator[CounterMetricFamily]:
        name, text, labels = self._about
        family = CounterMetricFamily(name, text, labels=labels)
        for values, count in list(self._counts.items()):
            family.add_metric(values, count)
        yield family


class Durations(Collector):
    """A histogram of seconds by pool. `bounds`: upper bounds of its buckets, ascending; one without a bound comes after them."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._about = name, text
        self._bounds = bounds
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, pool: str, seconds: float) -> None:
        counts = self._counts.get(pool)
        if counts is None:
            counts = self._counts[pool] = [0] * (len(self._bounds) + 1)
            self._sums[pool] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[pool] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        name, text = self._about
        family = HistogramMetricFamily(name, text, labels=("pool",))
        names = [*(repr(float(bound)) for bound in self._bounds), "+Inf"]
        for pool, counts in list(self._counts.items()):
            family.add_metric([pool], buckets=list(zip(names, accumulate(counts), strict=True)), sum_value=self._sums[pool])
        yield family
