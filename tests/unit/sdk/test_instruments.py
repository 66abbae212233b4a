"""Metrics are made of rows of one table, and what is counted by hand on every call's path reads as the library's own metrics do."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric as Family

from snakepit._telemetry.metrics import OPEN, TABLE, Metric, instruments, rows_of, series
from snakepit._telemetry.metrics.everywhere import BUILD_INFO
from snakepit._telemetry.metrics.instruments import Registry
from support.metrics import ask, scraped

US = ("agent",)
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
BOUNDS = (0.001, 0.5, 1.0, 300.0)
CALLS = Metric("calls_total", "counter", "Calls.", US, ("pool", "outcome"))
SECONDS = Metric("call_seconds", "histogram", "Seconds.", US, ("pool",), "seconds", BOUNDS)
DEPTH = Metric("depth", "gauge", "Depth.", US, ("pool",))


def samples(families: Iterator[Family]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): round(sample.value, 9)
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


# ---- the table


def test_no_two_rows_have_one_name() -> None:
    names = [row.name for row in TABLE]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_row_is_named_as_prometheus_has_it_and_explained_in_sentences(row: Metric) -> None:
    assert re.fullmatch(r"(snakepit|process|http)_[a-z_]+", row.name)
    assert re.fullmatch(r"(.*\. )?[^.].*\.", row.text)
    assert row.buckets == tuple(sorted(row.buckets))
    assert not {"le", "quantile", "job", "instance"} & set(row.labels)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_label_has_a_list_of_what_it_may_be_or_something_that_bounds_it(row: Metric) -> None:
    assert not [label for label in row.labels if label not in row.values and label not in OPEN]
    assert all(len(set(values)) == len(values) for values in row.values.values())


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"name": "calls", "kind": "counter"}, "a counter's name ends with _total"),
        ({"name": "calls_total", "kind": "gauge"}, "a counter's name ends with _total"),
        ({"name": "call_time", "kind": "histogram", "unit": "seconds"}, "it must end with its unit, seconds"),
        ({"name": "calls", "kind": "gauge", "components": ("client",)}, "there is no component client"),
        ({"name": "calls", "kind": "gauge", "values": {"outcome": ("OK",)}}, "it has no label outcome"),
    ],
)
def test_a_row_that_would_not_do_is_refused(row: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Metric(**{"text": "What.", "components": US, **row})  # type: ignore[arg-type]


# ---- instruments


def test_random_calls_give_the_same_samples_as_the_librarys_counter_and_histogram() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours, theirs = Registry("agent"), CollectorRegistry()
    calls, seconds = ours.counter(CALLS), ours.histogram(SECONDS)
    counter = Counter("calls", "Calls.", ("pool", "outcome"), registry=theirs)
    histogram = Histogram("call_seconds", "Seconds.", ("pool",), registry=theirs, buckets=BOUNDS)
    for _ in range(200):
        pool, outcome = rng.choice(["a/b", "c/d"]), rng.choice(["OK", "TOOL_ERROR"])
        value = rng.choice([*BOUNDS, rng.uniform(0, 400)])
        calls.add(pool, outcome)
        seconds.observe(value, pool)
        counter.labels(pool, outcome).inc()
        histogram.labels(pool).observe(value)
    assert samples(family for each in (calls, seconds) for family in each.collect()) == samples(iter(theirs.collect()))


def test_a_gauge_is_what_it_was_told_last() -> None:
    depth = Registry("agent").gauge(DEPTH)
    depth.set(5, "a/b")
    depth.add("a/b")
    depth.add("c/d", by=-2)
    assert samples(depth.collect()) == {("depth", (("pool", "a/b"),)): 6, ("depth", (("pool", "c/d"),)): -2}


def test_only_the_components_own_rows_become_instruments_each_of_its_kind() -> None:
    registry = Registry("gateway")
    with pytest.raises(ValueError, match="depth is of agent, not of gateway"):
        registry.gauge(DEPTH)
    with pytest.raises(ValueError, match="depth is a gauge, no counter"):
        registry.counter(DEPTH)
    with pytest.raises(ValueError, match=r"calls_total has the labels .*pool.*outcome.*, not .*OK"):
        Registry("agent").counter(CALLS).add("OK")


def test_what_is_gone_is_told_no_more() -> None:
    registry = Registry("agent")
    calls, depth = registry.counter(CALLS), registry.gauge(DEPTH)
    for pool in ("a/b", "c/d", ""):
        calls.add(pool, "OK")
        depth.set(1, pool)
    registry.keep("pool", {"c/d"}.__contains__)
    assert (calls.value("a/b", "OK"), calls.value("c/d", "OK"), calls.value("", "OK")) == (0, 1, 1)
    assert {dict(labels)["pool"] for _, labels in samples(depth.collect())} == {"c/d", ""}


def test_series_beyond_the_most_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "MOST_SERIES", 2)
    calls = Registry("agent").counter(CALLS)
    for pool in ("a/b", "c/d", "e/f", "g/h", "a/b"):
        calls.add(pool, "OK")
    assert (calls.value("a/b", "OK"), calls.value("c/d", "OK"), calls.value("other", "other")) == (2, 1, 2)


def test_a_gauge_goes_down_again_where_it_went_up_also_for_a_label_that_none_may_be() -> None:
    row = Metric("requests", "gauge", "Requests.", US, ("scheme",), values={"scheme": ("http", "https")})
    requests = Registry("agent").gauge(row)
    for by in (1, 1, -1, -1):
        requests.add("ws", by=by)
    assert samples(requests.collect()) == {("requests", (("scheme", "other"),)): 0}


def test_what_is_counted_together_is_of_no_pool_that_could_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "MOST_SERIES", 1)
    registry = Registry("agent")
    calls, seconds = registry.counter(CALLS), registry.histogram(SECONDS)
    for pool in ("a/b", "c/d"):
        calls.add(pool, "OK")
        seconds.observe(1.0, pool)
    registry.keep("pool", {"c/d"}.__contains__)
    assert (calls.value("a/b", "OK"), calls.value("other", "other")) == (0, 1)
    assert samples(seconds.collect())["call_seconds_count", (("pool", "other"),)] == 1


# ---- a scrape


async def test_what_a_loop_knows_is_read_in_it_when_somebody_scrapes() -> None:
    registry = Registry("agent")
    registry.read(asyncio.get_running_loop(), [DEPTH], lambda: [(DEPTH, ("a/b",), len(asyncio.all_tasks()))])
    assert samples(iter(await scraped(registry.application())))["depth", (("pool", "a/b"),)] > 0


async def test_a_loop_that_turns_too_late_reads_nothing_for_a_scrape_that_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instruments, "ANSWER_SECONDS", 0.01)
    registry, reads = Registry("agent"), list[str]()

    def read() -> list[instruments.Reading]:
        reads.append("read")
        return [(DEPTH, ("a/b",), 1)]

    registry.read(asyncio.get_running_loop(), [DEPTH], read)
    assert b"depth" not in ask(registry.application())[1]  # asked by the loop itself, which can't turn meanwhile
    monkeypatch.setattr(instruments, "ANSWER_SECONDS", 3600.0)
    assert b"depth" not in ask(registry.application())[1], "a second scrape doesn't wait once more"
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()
    await asyncio.sleep(0)
    assert not reads
    monkeypatch.undo()
    assert samples(iter(await scraped(registry.application())))["depth", (("pool", "a/b"),)] == 1
    assert len(reads) == 1


async def test_each_component_tells_its_version_and_its_process() -> None:
    for component in ("agent", "operator"):
        found = {family.name: family for family in await scraped(Registry(component).application())}
        assert found[BUILD_INFO.name].samples[0].labels["component"] == component
        assert {name for name in found if name.startswith("process_")} == {
            row.name.removesuffix("_total") for row in rows_of(component) if row.name.startswith("process_")
        }


@pytest.mark.parametrize(("accept", "pauses"), [("", 3 + 3 + 2), (PROTOBUF, 3 + 3 + 3)])
def test_a_scrape_of_many_series_lets_others_go_on_in_between(monkeypatch: pytest.MonkeyPatch, accept: str, pauses: int) -> None:
    registry = Registry("agent")
    seconds = registry.histogram(SECONDS)
    for number in range(3):
        seconds.observe(1.0, f"a/{number}")
    plain = ask(registry.application(), accept)[1]
    monkeypatch.setattr(instruments, "MOST_SHAPES", 1)
    monkeypatch.setattr(instruments, "MOST_SAMPLES", 8)
    monkeypatch.setattr(series, "PAUSE_SECONDS", 0.01)
    began = time.monotonic()
    polite = ask(registry.application(), accept)[1]
    assert time.monotonic() - began >= pauses * 0.01
    assert polite.count(b"call_seconds") == plain.count(b"call_seconds")


async def test_what_a_loop_is_asked_for_is_read_there_and_made_in_the_thread_that_asks() -> None:
    made, read = set[int](), set[int]()

    class Seen(tuple[str, ...]):
        """Labels that know who made a series of them."""

        def __iter__(self) -> Iterator[str]:
            made.add(threading.get_ident())
            return super().__iter__()

    def reading() -> list[instruments.Reading]:
        read.add(threading.get_ident())
        return [(DEPTH, Seen(("a/b",)), 1)]

    registry = Registry("agent")
    registry.read(asyncio.get_running_loop(), [DEPTH], reading)
    assert samples(iter(await scraped(registry.application())))["depth", (("pool", "a/b"),)] == 1
    assert read == {threading.get_ident()}
    assert made
    assert not made & read
