"""Our families as OpenTelemetry's MetricsData, under the names that scrapes have. Imported only where there is somewhere to push to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.sdk.metrics import Exemplar as OtlpExemplar
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from snakepit import __version__
from snakepit._telemetry.metrics.buckets import SCHEMA
from snakepit._telemetry.metrics.protobuf import Family, Shape
from snakepit._telemetry.metrics.starts import Starts

_UNITS = {"seconds": "s", "bytes": "By", "ratio": "1"}
_NATIVE = ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")


class _Push(NamedTuple):
    """What all points of a push share. `now`: in nanoseconds since the epoch."""

    starts: Starts
    now: int


def metrics_data(families: Iterable[Family], resource: Resource, starts: Starts, now: int) -> export.MetricsData:
    """What there is now. `starts` is asked for each series once; exemplars are those since its last push."""
    push = _Push(starts, now)
    found = [_metric(family, push) for family in families]
    scope = export.ScopeMetrics(InstrumentationScope("snakepit", __version__), [each for each in found if each.data.data_points], "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


def _metric(family: Family, push: _Push) -> export.Metric:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    unit = _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "")
    return export.Metric(name, family.documentation, unit, _data(family, name, push))


def _data(family: Family, name: str, push: _Push) -> export.DataT:
    if family.type == "histogram":
        return _histogram(getattr(family, "shapes"), name, push)  # noqa: B009  # as in protobuf
    samples = [each for each in family.samples if each.name == name]
    if family.type == "counter":
        began = [push.starts.of(name, each.labels, each.value) for each in samples]
    else:
        began = [push.starts.began] * len(samples)
    points = [
        export.NumberDataPoint(dict(each.labels), start, push.now, float(each.value)) for each, start in zip(samples, began, strict=True)
    ]
    if family.type == "counter":
        return export.Sum(points, export.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    return export.Gauge(points)


def _histogram(shapes: Iterable[Shape], name: str, push: _Push) -> export.DataT:
    with_starts = [(each, push.starts.of(name, each.labels, each.total)) for each in shapes]
    cumulative = export.AggregationTemporality.CUMULATIVE
    if os.environ.get(_NATIVE[0]) == _NATIVE[1]:
        return export.ExponentialHistogram([_exponential(each, start, push) for each, start in with_starts], cumulative)
    return export.Histogram([_explicit(each, start, push) for each, start in with_starts], cumulative)


def _explicit(shape: Shape, start: int, push: _Push) -> export.HistogramDataPoint:
    cumulative = [count for _, count, _ in shape.buckets]
    return export.HistogramDataPoint(
        attributes=dict(shape.labels),
        start_time_unix_nano=start,
        time_unix_nano=push.now,
        count=shape.total,
        sum=shape.sum,
        bucket_counts=[count - before for count, before in zip(cumulative, [0, *cumulative], strict=False)],
        explicit_bounds=[bound for bound, _, _ in shape.buckets[:-1]],
        min=None,  # type: ignore[arg-type]  # It isn't known, and may be left out of what is sent.
        max=None,  # type: ignore[arg-type]
        exemplars=_exemplars(shape, push),
    )


def _exponential(shape: Shape, start: int, push: _Push) -> export.ExponentialHistogramDataPoint:
    """A bucket is known by its lower bound there, and all between the first and the last are told."""
    counts = dict(shape.native.counts)
    first = min(counts, default=0)
    return export.ExponentialHistogramDataPoint(
        attributes=dict(shape.labels),
        start_time_unix_nano=start,
        time_unix_nano=push.now,
        count=shape.total,
        sum=shape.sum,
        scale=SCHEMA,
        zero_count=shape.native.zero,
        positive=export.Buckets(first - 1, [counts.get(key, 0) for key in range(first, max(counts, default=first - 1) + 1)]),
        negative=export.Buckets(0, []),
        flags=0,
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
        exemplars=_exemplars(shape, push),
    )


def _exemplars(shape: Shape, push: _Push) -> list[OtlpExemplar]:
    """Of each bucket the last one, if it is newer than the push before."""
    found = [each for _, _, each in shape.buckets if each is not None and each.time * 1e9 >= push.starts.last]
    return [OtlpExemplar({}, each.value, int(each.time * 1e9), int(each.span_id or "0", 16), int(each.trace_id, 16)) for each in found]
