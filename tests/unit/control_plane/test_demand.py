"""What a replica says of its calls: soon where something has changed, and quiet where nothing has."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from random import Random

import pytest

from snakepit_control_plane.model.demand import SAMPLE_SECONDS, Demand, Ticker


def fed(seconds: int, arrivals: Callable[[int], int], service: float = 1.0, busy: Callable[[int], int] = lambda _: 1) -> Demand:
    """A meter that has seen so many arrivals in each second; as many calls ended."""
    meter = Demand(0.0)
    for second in range(1, seconds + 1):
        count = arrivals(second)
        meter.arrived += count
        meter.served += count
        meter.served_seconds += count * service
        meter.sample(float(second), busy(second), 0)
    return meter


def poisson(rng: Random, mean: float) -> int:
    """Knuth's method."""
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


@pytest.fixture
def rng() -> Random:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    return Random(seed)


def rates(meter: Demand, rng: Random, after: int) -> list[float]:
    """What it says in each of three hundred seconds more, in which some 20 arrive."""
    said = []
    for second in range(after + 1, after + 301):
        meter.arrived += poisson(rng, 20)
        meter.sample(float(second), 1, 0)
        said.append(meter.message(float(second)).arrivals_per_second)
    return said


def test_a_poisson_process_has_its_rate_and_neither_bursts_nor_drift(rng: Random) -> None:
    """Its rate as a rule: once in some hundreds of seconds chance looks like a change, and is taken for one."""
    meter = fed(900, lambda _: poisson(rng, 20))
    said = meter.message(900.0)
    assert said.dispersion == pytest.approx(1, abs=0.8)
    assert said.drift < 0.25
    assert statistics.median(rates(meter, rng, 900)) == pytest.approx(20, rel=0.2)


def test_noise_is_no_change_of_the_rate(rng: Random) -> None:
    """The mean over two seconds would have a spread of more than 3; that over two minutes has one of 0.4."""
    meter = fed(150, lambda _: poisson(rng, 20))
    assert statistics.stdev(rates(meter, rng, 150)) < 2


def test_a_rise_is_seen_within_three_seconds() -> None:
    meter = fed(123, lambda second: 10 if second <= 120 else 60)
    assert meter.message(123.0).arrivals_per_second > 45


def test_a_fall_is_seen_within_ten_seconds() -> None:
    meter = fed(130, lambda second: 60 if second <= 120 else 5)
    assert meter.message(130.0).arrivals_per_second < 10


def test_bursts_are_dispersion() -> None:
    meter = fed(300, lambda second: 20 if second % 10 == 0 else 0)
    assert meter.message(300.0).dispersion > 3


def test_a_rate_that_wanders_is_drift() -> None:
    meter = fed(600, lambda second: 20 + round(15 * math.sin(second / 30)))
    assert meter.message(600.0).drift > 0.1


def test_a_load_that_has_changed_once_is_no_more_unsteady_for_it(rng: Random) -> None:
    def load(second: int) -> int:
        return 6 if second < 1000 else 60

    said = fed(1300, lambda second: poisson(rng, load(second)), busy=load).message(1300.0)
    assert said.dispersion < 1.6
    assert said.drift < 0.5


def test_a_queue_is_no_reason_to_think_the_load_unsteady(rng: Random) -> None:
    queue = [0] * 300 + [*range(0, 1000, 20), *range(1000, 0, -20)] + [0] * 100
    meter = Demand(0.0)
    for second, waiting in enumerate(queue):
        meter.arrived += poisson(rng, 20)
        meter.sample(float(second), 20, waiting)
    assert meter.message(float(len(queue))).dispersion < 1.5


def test_a_rate_that_falls_steadily_is_said_as_it_is_now_and_not_as_it_was_on_average() -> None:
    """The mean of the last minute would be 2.4 more."""
    meter = fed(300, lambda second: round(34 - 0.08 * second))
    assert meter.message(300.0).arrivals_per_second == pytest.approx(10, abs=0.5)


def test_how_long_calls_take_is_remembered_while_there_are_none() -> None:
    meter = fed(1000, lambda second: 5 if second < 60 else 0, service=0.7, busy=lambda _: 0)
    said = meter.message(1000.0)
    assert said.service_seconds == pytest.approx(0.7)
    assert said.idle_seconds == pytest.approx(941)
    assert said.arrivals_per_second == 0


def test_while_no_call_has_ended_they_take_at_least_as_long_as_some_run() -> None:
    meter = Demand(0.0)
    meter.arrived = 3
    for second in range(1, 31):
        meter.sample(float(second), 3 if second > 10 else 0, 0)
    assert meter.message(30.0).service_seconds == pytest.approx(20)
    assert meter.message(30.0).busy_slots == 3


def test_a_meter_that_has_seen_nothing_says_nothing() -> None:
    said = Demand(5.0).message(5.0)
    assert (said.arrivals_per_second, said.busy_slots, said.service_seconds, said.idle_seconds, said.drift) == (0, 0, 0, 0, 0)
    assert said.dispersion == 1


@pytest.mark.parametrize("there", ["busy", "waiting", "arrived"])
def test_a_call_in_any_state_is_activity(there: str) -> None:
    meter = Demand(0.0)
    meter.sample(50.0, 0, 0)
    meter.arrived += there == "arrived"
    meter.sample(51.0, int(there == "busy"), int(there == "waiting"))
    assert meter.message(60.0).idle_seconds == 9


def test_nothing_that_may_be_counted_gives_a_number_that_is_none(rng: Random) -> None:
    for _ in range(50):
        meter = Demand(0.0)
        for second in range(1, rng.randrange(2, 200)):
            meter.arrived += (count := rng.choice([0, 0, 1, 50, 10_000]))
            meter.served += (ended := rng.randrange(count + 1))
            meter.served_seconds += ended * rng.choice([0.0, 0.001, 100.0])
            meter.sample(float(second), rng.randrange(100), rng.randrange(3))
            said = meter.message(float(second))
            values = [value for _, value in said.ListFields()]
            assert all(math.isfinite(value) and value >= 0 for value in values)
            assert said.dispersion >= 1


def test_how_long_nothing_has_taken_is_not_the_age_of_a_sample() -> None:
    """Or the recommendation of a pool without calls would be another one with each look."""
    meter = Demand(0.0)
    for second in range(1, 4):
        assert meter.sample(float(second), 0, 0) is False
    assert meter.message(3.7).service_seconds == 0
    assert meter.sample(4.0, 1, 0)
    assert not meter.sample(5.0, 1, 0)
    assert meter.message(5.5).service_seconds == pytest.approx(2.5)
    assert meter.sample(6.0, 0, 0)


def test_samples_are_a_second_long_on_average_however_late_each_look_comes() -> None:
    ticker, looks, meter = Ticker(SAMPLE_SECONDS), Random(7), Demand(0.0)
    now = 0.0
    while now < 200:
        late = looks.uniform(0, 0.05)
        now += 0.25 + late
        meter.arrived += round(40 * (0.25 + late) * 1000) // 1000
        if ticker.is_due(now):
            meter.sample(now, 1, 0)
    assert meter.message(now).arrivals_per_second == pytest.approx(meter.arrived / now, rel=0.03)


def test_of_samples_that_a_stall_has_missed_one_is_left() -> None:
    ticker = Ticker(1.0)
    assert [ticker.is_due(now) for now in (5.0, 5.9, 6.2, 7.0, 30.0, 30.9, 31.0)] == [True, False, True, True, True, False, True]
