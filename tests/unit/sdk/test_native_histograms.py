"""Prometheus' protobuf, read by Google's library, with the fields that we fill declared after client_model's metrics.proto."""

from __future__ import annotations

import gzip
import io
import math
import random
from collections import Counter
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, proto

from snakepit._telemetry.metrics import Metric
from snakepit._telemetry.metrics.exposition import prefers_protobuf
from snakepit._telemetry.metrics.instruments import Registry
from snakepit._telemetry.metrics.row import SECONDS
from support.metrics import ask

US = ("agent",)
CALLS = Metric("calls_total", "counter", "Calls.", US, ("pool", "outcome"))
TIMES = Metric("call_seconds", "histogram", "Seconds.", US, ("pool",), "seconds")
DEPTH = Metric("depth", "gauge", "Depth.", US, ("pool",))

PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
OF_PROMETHEUS = f"{PROTOBUF},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
"""What Prometheus 2.42 sends with --enable-feature=native-histograms."""

FIELDS = {
    "LabelPair": "1 name string, 2 value string",
    "Value": "1 value double",
    "Time": "1 seconds int64, 2 nanos int32",
    "Exemplar": "1 label *LabelPair, 2 value double, 3 timestamp Time",
    "Bucket": "1 cumulative_count uint64, 2 upper_bound double, 3 exemplar Exemplar",
    "Span": "1 offset sint32, 2 length uint32",
    "Histogram": "1 sample_count uint64, 2 sample_sum double, 3 bucket *Bucket, 5 schema sint32, 6 zero_threshold double, "
    "7 zero_count uint64, 12 positive_span *Span, 13 positive_delta *sint64, 16 exemplars *Exemplar",
    "Metric": "1 label *LabelPair, 2 gauge Value, 3 counter Value, 7 histogram Histogram",
    "MetricFamily": "1 name string, 2 help string, 3 type int32, 4 metric *Metric",
}


def declared() -> Any:
    """The class of MetricFamily."""
    file = descriptor_pb2.FileDescriptorProto(name="metrics.proto", package="read", syntax="proto2")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            number, key, kind = field.split()
            made = message.field.add(name=key, number=int(number), label=3 if kind.startswith("*") else 1)
            kind = kind.lstrip("*")
            if kind in FIELDS:
                made.type, made.type_name = made.TYPE_MESSAGE, f".read.{kind}"
            else:
                made.type = made.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("read.MetricFamily"))


def read(body: bytes) -> dict[str, Any]:
    """Families by name. No byte is one that the declared fields have not."""
    kind, found, stream = declared(), {}, io.BytesIO(body)
    while (family := proto.parse_length_prefixed(kind, stream)) is not None:
        size = family.ByteSize()
        family.DiscardUnknownFields()
        assert family.ByteSize() == size
        found[family.name] = family
    return found


def scraped(registry: Registry) -> dict[str, Any]:
    content_type, body = ask(registry.application(), OF_PROMETHEUS)
    assert content_type.replace(" ", "") == PROTOBUF
    return read(body)


def buckets(histogram: Any) -> dict[int, int]:
    """Of a native histogram: counts by key."""
    found, key, count, deltas = {}, 0, 0, iter(histogram.positive_delta)
    for span in histogram.positive_span:
        key += span.offset
        for _ in range(span.length):
            count += next(deltas)
            found[key] = count
            key += 1
    assert next(deltas, None) is None
    return found


def test_a_random_histogram_is_native_and_classic_at_once_with_each_value_in_its_bucket() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    values = [rng.choice([0.0, 1e-9, *SECONDS, rng.lognormvariate(-3, 3), rng.uniform(0, 400), 1e6]) for _ in range(500)]
    registry = Registry("agent")
    times = registry.histogram(TIMES)
    for value in values[:250]:
        times.observe(value, "a/b")
    times.of("a/b").observe_all(values[250:])
    (metric,) = scraped(registry)["call_seconds"].metric
    histogram = metric.histogram
    assert histogram.sample_count == len(values)
    assert histogram.sample_sum == pytest.approx(sum(values))
    assert {each.upper_bound: each.cumulative_count for each in histogram.bucket} == {
        bound: sum(value <= bound for value in values) for bound in (*SECONDS, math.inf)
    }
    assert histogram.schema == 3
    assert histogram.zero_count == sum(value <= histogram.zero_threshold for value in values)
    large = 2.0**14
    wanted = Counter(math.ceil(math.log2(value) * 8 - 1e-9) for value in values if histogram.zero_threshold < value <= large)
    wanted[14 * 8 + 1] = sum(value > large for value in values)
    assert buckets(histogram) == +wanted


def test_counters_and_gauges_are_what_they_are_in_text() -> None:
    registry = Registry("agent")
    registry.counter(CALLS).add("a/b", "OK", by=3)
    registry.gauge(DEPTH).set(-2.5, 'a"\n')
    found = scraped(registry)
    (calls,), (depth,) = found["calls_total"].metric, found["depth"].metric
    assert [found[name].type for name in ("calls_total", "depth", "process_start_time_seconds")] == [0, 1, 1]
    assert {each.name: each.value for each in calls.label} == {"pool": "a/b", "outcome": "OK"}
    assert (calls.counter.value, depth.gauge.value, depth.label[0].value) == (3, -2.5, 'a"\n')
    assert found["process_cpu_seconds_total"].metric[0].counter.value > 0
    assert found["calls_total"].help == "Calls."


def test_the_trace_of_a_value_is_its_buckets_exemplar_in_protobuf_and_openmetrics_and_the_latest_counts() -> None:
    registry = Registry("agent")
    times = registry.histogram(TIMES)
    times.observe(0.3, "a/b", trace_id="a" * 32)
    times.observe(0.4, "a/b", trace_id="b" * 32)
    times.observe(0.45, "a/b")
    histogram = scraped(registry)["call_seconds"].metric[0].histogram
    with_one = [each for each in histogram.bucket if each.HasField("exemplar")]
    assert [(each.upper_bound, each.exemplar.value) for each in with_one] == [(0.5, 0.4)]
    (exemplar,) = histogram.exemplars
    assert {each.name: each.value for each in exemplar.label} == {"trace_id": "b" * 32}
    assert exemplar.timestamp.seconds > 1_700_000_000
    _, text = ask(registry.application(), "application/openmetrics-text;version=1.0.0")
    (line,) = [line for line in text.decode().splitlines() if " # " in line]
    assert line.startswith(f'call_seconds_bucket{{le="0.5",pool="a/b"}} 3.0 # {{trace_id="{"b" * 32}"}} 0.4 ')
    assert "# {" not in ask(registry.application())[1].decode(), "plain text has no exemplars"


def test_the_answer_is_zipped_for_whoever_takes_that() -> None:
    registry = Registry("agent")
    plain, zipped = (ask(registry.application(), PROTOBUF, encoding)[1] for encoding in ("", "gzip"))
    assert read(gzip.decompress(zipped)).keys() == read(plain).keys()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (OF_PROMETHEUS, True),
        (PROTOBUF, True),
        (f"application/openmetrics-text;version=1.0.0;q=0.5,{PROTOBUF};q=0.6", True),
        (f"application/openmetrics-text;version=1.0.0;q=0.7,{PROTOBUF};q=0.6", False),
        (PROTOBUF.replace("delimited", "text"), False),
        (f"{PROTOBUF};q=0", False),
        (f"{PROTOBUF};q=much", False),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_protobuf_is_for_who_likes_it_best(accept: str, wanted: bool) -> None:
    assert prefers_protobuf(accept) is wanted
