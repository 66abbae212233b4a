"""Counters, gauges and histograms, made of rows of the table. It alone imports prometheus_client (extra `metrics`).

What calls add to are plain numbers, turned into families only when somebody scrapes: the library's own take a lock for each of several
values, a fifth of what routing a call costs. One thread adds; others may scrape.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app, samples
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from snakepit import __version__
from snakepit._telemetry.metrics.buckets import bounds_of
from snakepit._telemetry.metrics.everywhere import BUILD_INFO
from snakepit._telemetry.metrics.exposition import negotiated
from snakepit._telemetry.metrics.protobuf import Exemplar, Shape
from snakepit._telemetry.metrics.row import OTHER, Kind, Metric
from snakepit._telemetry.metrics.series import Distribution, Polite, Tally

ANSWER_SECONDS = 2.0
"""A loop that gives no answer for so long does not turn: what only it can say is left out of scrapes until it does."""

MOST_SERIES = 10_000
"""Of one metric. What comes beyond is counted together, each label `other`: rows say what their labels may be, this bounds the rest."""

MOST_SHAPES, MOST_SAMPLES = 8, 64
"""A scrape of many series makes a pause after so many, which take half a millisecond."""

Labels = tuple[str, ...]
Value = TypeVar("Value")
ReadFamily = CounterMetricFamily | GaugeMetricFamily
Reading = tuple[Metric, Labels, float]
"""What a gauge, or a counter that others count, is at the moment."""


class Instrument(Collector, Generic[Value]):
    """The series of one row, by the values of its labels."""

    kind: Kind

    def __init__(self, row: Metric) -> None:
        if row.kind != self.kind:
            raise ValueError(f"{row.name} is a {row.kind}, no {self.kind}")
        self.row = row
        self._series: dict[Labels, Value] = {}

    def _admit(self, labels: Labels) -> Labels:
        """For labels that are new: those to count them under."""
        if len(labels) != len(self.row.labels):
            raise ValueError(f"{self.row.name} has the labels {self.row.labels}, not {labels}")
        known = self.row.known(labels)
        return known if known in self._series or len(self._series) < MOST_SERIES else (OTHER,) * len(labels)

    def keep(self, label: str, known: Callable[[str], bool]) -> None:
        """Forget the series whose value of that label isn't known any more, but for OTHER's. Nothing for a row without that label."""
        if label in self.row.labels:
            at = self.row.labels.index(label)
            for labels in [each for each in self._series if each[at] not in ("", OTHER) and not known(each[at])]:
                del self._series[labels]

    def forget(self, *first: str) -> None:
        """The series whose first labels are these."""
        for labels in [each for each in self._series if each[: len(first)] == first]:
            del self._series[labels]


class Counter(Instrument[Tally]):
    """What only grows."""

    kind = "counter"

    def of(self, *labels: str) -> Tally:
        """What is counted under these labels: whoever counts often keeps it, for as long as the labels are known."""
        found = self._series.get(labels)
        if found is None:
            found = self._series.setdefault(self._admit(labels), Tally())
        return found

    def add(self, *labels: str, by: float = 1) -> None:
        """Count so many more under these labels."""
        self.of(*labels).count += by

    def value(self, *labels: str) -> float:
        """What has been counted under these labels."""
        found = self._series.get(labels)
        return 0 if found is None else found.count

    def collect(self) -> Iterator[ReadFamily]:
        """Called by whoever scrapes."""
        yield as_read(self.row, [(labels, tally.count) for labels, tally in list(self._series.items())])


class Gauge(Instrument[float]):
    """What goes up and down, and is told when it does."""

    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        """It is that now."""
        if labels not in self._series:
            labels = self._admit(labels)
        self._series[labels] = value

    def add(self, *labels: str, by: float = 1) -> None:
        """It is so much more, or less, than it was."""
        if labels not in self._series:
            labels = self._admit(labels)
        self._series[labels] = self._series.get(labels, 0) + by

    def collect(self) -> Iterator[ReadFamily]:
        """Called by whoever scrapes."""
        yield as_read(self.row, list(self._series.items()))


class HistogramFamily(HistogramMetricFamily):
    """With `shapes`, for forms that have more to say than classic buckets."""

    def __init__(self, row: Metric, shapes: Iterable[Shape]) -> None:
        super().__init__(row.name, row.text, labels=row.labels)
        self.samples = Polite[Any]((), MOST_SAMPLES)
        self.shapes = Polite(shapes, MOST_SHAPES)
        for each in self.shapes:
            self.add_metric(list(each.labels.values()), [_bucket(*bucket) for bucket in each.buckets], each.sum)


def _bucket(bound: float, count: int, exemplar: Exemplar | None) -> Any:
    name = "+Inf" if bound == math.inf else repr(float(bound))
    if exemplar is None:
        return name, count
    return name, count, samples.Exemplar({"trace_id": exemplar.trace_id}, exemplar.value, exemplar.time)


class Histogram(Instrument[Distribution]):
    """How large values are."""

    kind = "histogram"

    def of(self, *labels: str) -> Distribution:
        """Where values with these labels go: whoever has many keeps it, for as long as the labels are known."""
        found = self._series.get(labels)
        if found is None:
            found = self._series.setdefault(self._admit(labels), Distribution(bounds_of(self.row.buckets)))
        return found

    def observe(self, value: float, *labels: str, trace_id: str = "", span_id: str = "") -> None:
        """Count one more of that size. `trace_id`, `span_id`: of the span that shows it, if one does."""
        self.of(*labels).observe(value, trace_id, span_id)

    def collect(self) -> Iterator[HistogramFamily]:
        """Called by whoever scrapes."""
        series = Polite(self._series.items(), MOST_SHAPES)
        yield HistogramFamily(self.row, (each.shape(dict(zip(self.row.labels, labels, strict=True))) for labels, each in series))


class LoopReader(Collector):
    """Gauges and counters that are read in an event loop, whose state they are, when somebody scrapes: nothing is kept on the path of what
    they say."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rows: Iterable[Metric], read: Callable[[], Iterable[Reading]]) -> None:
        self._loop, self._rows, self._read = loop, tuple(rows), read
        self._asked: Future[list[Reading]] | None = None
        """Last, until the loop turns."""

    def collect(self) -> Iterable[ReadFamily]:
        """Called in a thread of whoever scrapes."""
        if (last := self._asked) is not None and last.cancelled():
            return ()  # Scrapes have one thread: those behind this one would wait for it, each in turn.
        answer = self._asked = Future[list[Reading]]()
        try:
            self._loop.call_soon_threadsafe(self._give, answer)
        except RuntimeError:  # the loop is closed
            return ()
        try:
            return self._families(answer.result(ANSWER_SECONDS))
        except TimeoutError:
            answer.cancel()  # or else a loop that turns again would first have to answer all who have asked meanwhile
            return ()

    def _give(self, answer: Future[list[Reading]]) -> None:
        """In the loop: read for who still waits, and no more. What is made of it is made in the thread that asks."""
        self._asked = None
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(list(self._read()))
            except Exception as error:  # theirs who scrape
                answer.set_exception(error)

    def _families(self, readings: Iterable[Reading]) -> list[ReadFamily]:
        found: dict[Metric, list[tuple[Labels, float]]] = {row: [] for row in self._rows}
        for row, labels, value in readings:
            found[row].append((labels, value))
        return [as_read(row, values) for row, values in found.items()]


class Readers(Collector):
    """All that is read at a scrape."""

    def __init__(self) -> None:
        self.each: list[LoopReader] = []

    def collect(self) -> Iterator[ReadFamily]:
        """Called by whoever scrapes."""
        for each in self.each:
            yield from each.collect()


def as_read(row: Metric, values: Iterable[tuple[Labels, float]]) -> ReadFamily:
    """A row's family, as it is now."""
    family = (CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily)(row.name, row.text, labels=row.labels)
    for labels, value in Polite(values, MOST_SAMPLES):
        family.add_metric(labels, value)
    return family


Made = TypeVar("Made", bound=Instrument[Any])


class Registry:
    """All instruments of one component of the table: two servers in one process (local mode, tests) have one each, and share no numbers."""

    def __init__(self, component: str) -> None:
        self.component = component
        self.instruments: list[Instrument[Any]] = []
        self._registry = CollectorRegistry()
        # They come first: what they find gone is forgotten before it is told.
        self._readers = Readers()
        self._registry.register(self._readers)
        ProcessCollector(registry=self._registry)
        self.gauge(BUILD_INFO).set(1, component, __version__)

    def counter(self, row: Metric) -> Counter:
        """Made of a row, once. Raises ValueError for a row that isn't the component's, or of another kind."""
        return self._added(Counter(row))

    def gauge(self, row: Metric) -> Gauge:
        """Likewise."""
        return self._added(Gauge(row))

    def histogram(self, row: Metric) -> Histogram:
        """Likewise."""
        return self._added(Histogram(row))

    def read(self, loop: asyncio.AbstractEventLoop, rows: Iterable[Metric], read: Callable[[], Iterable[Reading]]) -> None:
        """These gauges and counters are what `read`, called in the loop, says at each scrape. It must say nothing of other rows."""
        rows = tuple(rows)
        for row in rows:
            self._check(row)
        self._readers.each.append(LoopReader(loop, rows, read))

    def keep(self, label: str, known: Callable[[str], bool]) -> None:
        """Forget every series of something that is gone, such as a pool."""
        for each in self.instruments:
            each.keep(label, known)

    def collect(self) -> Iterable[Any]:
        """All families as they are now; not to be called in a loop that is read."""
        return self._registry.collect()

    def application(self) -> Callable[..., Any]:
        """Answers a scrape, by WSGI, in whatever form of Prometheus' it asks for."""
        return negotiated(self.collect, make_wsgi_app(self._registry))

    def _added(self, made: Made) -> Made:
        self._check(made.row)
        self._registry.register(made)
        self.instruments.append(made)
        return made

    def _check(self, row: Metric) -> None:
        if self.component not in row.components:
            raise ValueError(f"{row.name} is of {', '.join(row.components)}, not of {self.component}")
