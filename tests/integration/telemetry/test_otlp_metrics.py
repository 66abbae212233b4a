"""The same instruments, pushed over OTLP to a collector."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import AsyncIterator

import pytest

from snakepit._telemetry import tracing
from snakepit._telemetry.metrics import Metric, otlp
from snakepit._telemetry.metrics.instruments import Registry
from support.control_plane import calling, replica
from support.eventually import eventually
from support.otlp import Receiver, receiving
from support.simulated_agent import POOL, simulated_agent

US = ("agent",)
CALLS = Metric("calls_total", "counter", "Calls.", US, ("pool",))
TIMES = Metric("call_seconds", "histogram", "Seconds.", US, ("pool",), "seconds")
DEPTH = Metric("depth", "gauge", "Depth.", US)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        monkeypatch.setattr(otlp, "FAREWELL_SECONDS", 30.0)  # A busy machine's.
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        yield receiver


async def test_a_replica_pushes_what_it_would_tell_a_scraper(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    found = collector.metrics.metrics
    async with replica() as server, calling(server.address) as caller, simulated_agent(server.address):
        await eventually(lambda: collector.metrics.pushes > 1, "it pushes again and again")
        await caller.call("echo")
        calls = "snakepit-control-plane", "snakepit_calls_total"
        await eventually(lambda: calls in found, "the call is told")
    (point,) = found[calls].sum.data_points
    assert {each.key: each.value.string_value for each in point.attributes} == {"pool": POOL, "tool": "echo", "outcome": "OK"}
    assert (point.as_double, found[calls].sum.is_monotonic, found[calls].sum.aggregation_temporality) == (1, True, 2)
    assert len(found["snakepit-control-plane", "snakepit_slots"].gauge.data_points) == 2
    assert point.time_unix_nano > point.start_time_unix_nano > 0
    times = found["snakepit-control-plane", "snakepit_call_duration_seconds"]
    assert (times.unit, times.histogram.data_points[0].count) == ("s", 1)


@pytest.mark.parametrize("native", [False, True])
async def test_histograms_have_the_buckets_that_are_asked_for(collector: Receiver, monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    kind = "base2_exponential_bucket_histogram" if native else "explicit_bucket_histogram"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", kind)
    values = [0.0, *(random.lognormvariate(-3, 2) for _ in range(100))]
    registry = Registry("agent")
    times = registry.histogram(TIMES)
    for value in values:
        times.observe(value, "a/b")
    await otlp.begin(registry, "agent").stop()
    metric = collector.metrics.metrics["agent", "call_seconds"]
    (point,) = metric.exponential_histogram.data_points if native else metric.histogram.data_points
    assert (point.count, point.sum) == (101, pytest.approx(sum(values)))
    if native:
        assert (point.scale, point.zero_count) == (3, 1)
        base = 2 ** (1 / 8)
        for at, count in enumerate(point.positive.bucket_counts):
            low = base ** (point.positive.offset + at)
            assert count == sum(low < value <= low * base for value in values)
    else:
        bounds = [*point.explicit_bounds, float("inf")]
        lows = [-1.0, *point.explicit_bounds]
        counts = [sum(low < value <= bound for value in values) for low, bound in zip(lows, bounds, strict=True)]
        assert list(point.bucket_counts) == counts


async def test_who_ends_pushes_once_more(collector: Receiver) -> None:
    registry = Registry("agent")
    push = otlp.begin(registry, "agent")
    registry.counter(CALLS).add("a/b", by=7)
    registry.gauge(DEPTH).set(-3)
    await push.stop()
    found = collector.metrics.metrics
    assert found["agent", "calls_total"].sum.data_points[0].as_double == 7
    assert found["agent", "depth"].gauge.data_points[0].as_double == -3
    assert ("agent", "process_cpu_seconds_total") in found


@pytest.mark.parametrize("native", [False, True])
async def test_a_histogram_names_the_span_of_the_last_value_in_each_bucket_once(
    collector: Receiver, monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    if native:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    registry, found, told = Registry("agent"), collector.metrics.metrics, collector.metrics.exemplars
    times = registry.histogram(TIMES)
    times.observe(0.3, "a/b", trace_id="a" * 32, span_id="1" * 16)
    times.observe(0.4, "a/b", trace_id="b" * 32, span_id="2" * 16)
    times.observe(0.45, "a/b")
    times.observe(7.0, "a/b", trace_id="c" * 32, span_id="3" * 16)
    push = otlp.begin(registry, "agent")

    def has_none() -> bool:
        metric = found["agent", "call_seconds"]
        (point,) = metric.exponential_histogram.data_points if native else metric.histogram.data_points
        return not point.exemplars

    await eventually(lambda: ("agent", "call_seconds") in found and has_none(), "the next push has no new ones")
    before = len(told["agent", "call_seconds"])
    times.observe(0.2, "a/b", trace_id="d" * 32, span_id="4" * 16)
    await push.stop()
    new = told["agent", "call_seconds"][before:]
    assert [(each.as_double, each.trace_id.hex(), each.span_id.hex()) for each in new] == [(0.2, "d" * 32, "4" * 16)]


async def test_the_first_push_names_the_spans_of_all_values_so_far(collector: Receiver) -> None:
    registry = Registry("agent")
    push = otlp.begin(registry, "agent")
    times = registry.histogram(TIMES)
    times.observe(0.3, "a/b", trace_id="a" * 32, span_id="1" * 16)
    times.observe(0.4, "a/b", trace_id="b" * 32, span_id="2" * 16)
    times.observe(7.0, "a/b", trace_id="c" * 32, span_id="3" * 16)
    await push.stop()
    (point,) = collector.metrics.metrics["agent", "call_seconds"].histogram.data_points
    told = [(each.as_double, each.trace_id.hex(), each.span_id.hex()) for each in point.exemplars]
    assert told == [(0.4, "b" * 32, "2" * 16), (7.0, "c" * 32, "3" * 16)]
    assert all(point.start_time_unix_nano <= each.time_unix_nano <= time.time_ns() for each in point.exemplars)


async def test_what_a_pool_made_anew_has_counted_says_since_when(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    registry, received = Registry("agent"), collector.metrics
    calls, times = registry.counter(CALLS), registry.histogram(TIMES)
    push = otlp.begin(registry, "agent")

    def count(pools: str) -> None:
        for pool in pools:
            calls.add(pool, by=2)
            times.observe(1.0, pool)

    def starts() -> dict[str, tuple[int, int]]:
        sums = received.metrics["agent", "calls_total"].sum.data_points
        shapes = received.metrics["agent", "call_seconds"].histogram.data_points
        began = {each.attributes[0].value.string_value: each.start_time_unix_nano for each in sums}
        return {
            pool: (began[pool], each.start_time_unix_nano) for each in shapes if (pool := each.attributes[0].value.string_value) in began
        }

    count("ab")
    await eventually(lambda: ("agent", "call_seconds") in received.metrics, "both pools are told")
    before, gone = starts(), time.time_ns()
    registry.keep("pool", "b".__contains__)
    await eventually(lambda: set(starts()) == {"b"}, "one pool is told no more")
    count("ab")
    await push.stop()
    after = starts()
    assert after["b"] == before["b"]
    assert all(gone < each < time.time_ns() for each in after["a"])


async def test_a_collector_that_says_nothing_keeps_nobody_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(otlp, "FAREWELL_SECONDS", 0.2)
        with caplog.at_level(logging.CRITICAL):
            async with asyncio.timeout(otlp.FAREWELL_SECONDS + 5):
                await otlp.begin(Registry("agent"), "agent").stop()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRICS_EXPORTER": "prometheus"},
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
    ],
)
async def test_nothing_is_pushed_where_nobody_asked_for_it(environment: dict[str, str]) -> None:
    push = otlp.begin(Registry("agent"), "agent", environment)
    assert not push.is_on
    await push.stop()


async def test_an_interval_that_is_none_is_told_and_a_minute_is_taken(collector: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}", "OTEL_METRIC_EXPORT_INTERVAL": "1m"}
    await otlp.begin(Registry("agent"), "agent", environment).stop()
    assert "OTEL_METRIC_EXPORT_INTERVAL is '1m': it must be a number of milliseconds; 60 s are taken" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "ValueError: could not convert string to float: '10s'"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli", "OTEL_EXPORTER_OTLP_COMPRESSION"),
    ],
)
async def test_what_the_exporter_cannot_read_is_told_once_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv(name, value)
    push = otlp.begin(Registry("agent"), "agent")
    assert not push.is_on
    await push.stop()
    assert not tracing.configure("tested")
    assert not tracing.enabled()
    metrics, traces = (record.getMessage() for record in caplog.records if record.name.startswith("snakepit"))
    assert metrics.startswith("no metrics are pushed, look at the variables OTEL_*: ")
    assert traces.startswith("nothing is traced, look at the variables OTEL_*: ")
    assert told in metrics
    assert told in traces


async def test_an_empty_variable_is_one_that_is_not_set(collector: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "")
    push = otlp.begin(Registry("agent"), "agent")
    assert push.is_on
    await push.stop()
    assert ("agent", "snakepit_build_info") in collector.metrics.metrics
