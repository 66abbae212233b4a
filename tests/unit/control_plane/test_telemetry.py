"""What a replica counts has few names, whatever others say."""

from __future__ import annotations

from typing import Any

from snakepit._telemetry.metrics.instruments import Counter, Gauge, Histogram, Instrument
from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.telemetry import COUNTED_AT_ONCE, GONE_SECONDS, MOST_TOOLS, Telemetry
from support.metrics import is_known
from support.simulated_agent import settings


def outcomes(telemetry: Telemetry) -> dict[str, float]:
    return {sample.labels["outcome"]: sample.value for family in telemetry.calls.collect() for sample in family.samples}


def test_an_outcome_that_a_worker_made_up_is_counted_as_other() -> None:
    telemetry = Telemetry()
    for outcome in ("OK", "TOOL_ERROR", "DEADLINE", *(f"made up {number}" for number in range(100))):
        telemetry.answered("default/p", "t", outcome, 0.01, 0.0, 0.005)
    assert outcomes(telemetry) == {"OK": 1, "TOOL_ERROR": 1, "DEADLINE": 1, "other": 100}


def test_whatever_others_call_things_each_label_is_one_of_its_rows_list() -> None:
    telemetry = Telemetry()
    for number in range(300):
        telemetry.answered("default/p", f"tool {number}", f"made up {number}", 0.01, 0.0, 0.005)
        for instrument in telemetry.registry.instruments:
            count(instrument, *(f"made up {number}" if label in instrument.row.values else "" for label in instrument.row.labels))
    samples = [sample for family in telemetry.registry.collect() for sample in family.samples]
    assert all(is_known(sample.name, sample.labels) for sample in samples)
    assert len({sample.labels["tool"] for sample in samples if "tool" in sample.labels}) == MOST_TOOLS + 2, "with `other`, and no tool"
    assert len({(sample.name, *sample.labels.values()) for sample in samples}) == len(samples)


def count(instrument: Instrument[Any], *labels: str) -> None:
    if isinstance(instrument, Histogram):
        instrument.observe(0.1, *labels)
    elif isinstance(instrument, Counter | Gauge):
        instrument.add(*labels)


def test_a_tool_that_its_pool_has_not_offered_for_a_while_is_forgotten_and_makes_room() -> None:
    given = settings()
    telemetry, pool = Telemetry(), Pool(given, decode_spec(given.spec), 0.0)
    tools = [f"t{number}" for number in range(MOST_TOOLS - 1)]
    for tool in ("", *tools):
        telemetry.answered(pool.name, tool, "OK", 0.01, 0.0, 0.005)
    pool.tools["t7"] = common_pb2.Tool(name="t7")
    telemetry.forget({pool.name: pool}, 1000.0)
    telemetry.forget({pool.name: pool}, 1000.0 + GONE_SECONDS - 1)
    assert len(counted(telemetry)) == MOST_TOOLS, "who scrapes has seen its last calls"
    pool.tools["t8"] = common_pb2.Tool(name="t8")
    telemetry.forget({pool.name: pool}, 1000.0 + GONE_SECONDS)
    assert counted(telemetry) == {"", "t7", "t8"}
    del pool.tools["t8"]
    telemetry.forget({pool.name: pool}, 2000.0)
    telemetry.answered(pool.name, "new", "OK", 0.01, 0.0, 0.005)
    assert counted(telemetry) == {"", "t7", "t8", "new"}


def test_each_calls_times_are_counted_before_a_scrape_however_many_there_were_since_the_last_one() -> None:
    telemetry = Telemetry()
    for number in range(3 * COUNTED_AT_ONCE + 7):
        telemetry.answered("default/p", "t", "OK", 1.0, 0.25 * (number % 2), 0.5)
    telemetry.answered("default/p", "t", "QUEUE_TIMEOUT", 2.0, 2.0, 0.0)
    telemetry.count()
    ran, waited = 3 * COUNTED_AT_ONCE + 7, (3 * COUNTED_AT_ONCE + 7) // 2
    assert sums(telemetry.seconds) == {"t": (ran + 1, ran + 2.0)}
    phases = next(each for each in telemetry.registry.instruments if isinstance(each, Histogram) and "phase" in each.row.labels)
    queue, overhead = 0.25 * waited, 0.5 * ran - 0.25 * waited
    assert sums(phases) == {"queue": (ran, queue), "run": (ran, 0.5 * ran), "overhead": (ran, overhead)}


def sums(histogram: Histogram) -> dict[str, tuple[float, float]]:
    """By the last label: how many there are, and their sum."""
    found: dict[str, dict[str, float]] = {}
    for sample in (sample for family in histogram.collect() for sample in family.samples if not sample.name.endswith("_bucket")):
        found.setdefault(sample.labels[histogram.row.labels[-1]], {})[sample.name.rpartition("_")[2]] = sample.value
    return {label: (each["count"], each["sum"]) for label, each in found.items()}


def counted(telemetry: Telemetry) -> set[str]:
    found = {sample.labels["tool"] for family in telemetry.calls.collect() for sample in family.samples}
    assert found == {sample.labels["tool"] for family in telemetry.seconds.collect() for sample in family.samples}
    return found
