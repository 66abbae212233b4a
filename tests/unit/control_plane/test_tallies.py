"""What is counted by hand on every call's path reads as the library's own metrics do."""

from __future__ import annotations

import random

from prometheus_client import CollectorRegistry, Counter, Histogram

from snakepit_control_plane.telemetry import Durations, Tally

_BOUNDS = (0.001, 0.5, 1, 300)


def _samples(registry: CollectorRegistry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): round(sample.value, 9)
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_random_calls_give_the_same_samples_as_the_libraries_counter_and_histogram() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tally = Tally("calls", "Calls.", ("pool", "outcome"), ours)
    durations = Durations("seconds", "Seconds.", _BOUNDS, ours)
    counter = Counter("calls", "Calls.", ("pool", "outcome"), registry=theirs)
    histogram = Histogram("seconds", "Seconds.", ("pool",), registry=theirs, buckets=_BOUNDS)
    for _ in range(200):
        pool, outcome = rng.choice(["a/b", "c/d"]), rng.choice(["OK", "TOOL_ERROR"])
        seconds = rng.choice([*_BOUNDS, rng.uniform(0, 400)])
        tally.add(pool, outcome)
        durations.observe(pool, seconds)
        counter.labels(pool, outcome).inc()
        histogram.labels(pool).observe(seconds)
    assert _samples(ours) == _samples(theirs)
