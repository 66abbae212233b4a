"""A pool's last hour: what is counted in which minute, what is forgotten, and what replicas' histories give together."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from snakepit.client.history import PoolHistory, pool_history
from snakepit.v1 import call_pb2, pool_pb2
from snakepit_control_plane.model.history import BOUNDS, MOST_REASONS, OTHER, SLOW_SECONDS, History

WALL = 1_800_000_000.0
"""A full minute; the loop's clock stood at 0 then."""


def history() -> History:
    return History(lambda: WALL)


def said(*histories: History, now: float) -> PoolHistory:
    """As a client has it from replicas with these."""
    replies = []
    for each in histories:
        reply = call_pb2.GetHistoryResponse(bounds=BOUNDS, time=stamp(WALL + now))
        for minute in each.last(now):
            begin = stamp(WALL + minute.begin)
            reply.minutes.add(begin_time=begin, seconds=minute.seconds, queue_seconds=minute.queue_seconds, errors=minute.errors)
        replies.append(reply)
    return pool_history(replies, ())


def test_replicas_have_counted_a_part_of_an_objectives_calls_each() -> None:
    replies = [
        call_pb2.GetHistoryResponse(bounds=BOUNDS, time=stamp(WALL), objectives=[objective(calls, bad, since)])
        for calls, bad, since in ((150, 1, 60), (50, 0, 0))
    ]
    (found,) = pool_history(replies, ()).objectives
    assert (found.name, found.calls, found.bad_calls, found.budget_left_percent) == ("latency", 200, 1, 50)
    assert found.since == datetime.fromtimestamp(WALL, UTC)
    assert pool_history(replies, ()).budget_left_percent == 50


def objective(calls: int, bad: int, since: float) -> pool_pb2.Objective:
    return pool_pb2.Objective(name="latency", target_percent=99, calls=calls, bad_calls=bad, since=stamp(WALL + since))


def stamp(seconds: float) -> Timestamp:
    made = Timestamp()
    made.FromNanoseconds(int(seconds * 1e9))
    return made


def test_calls_count_in_the_minute_in_which_they_end() -> None:
    minutes = history()
    for now, reason in ((59.0, "OK"), (60.0, "OK"), (61.0, "TOOL_ERROR"), (200.0, "OK")):
        minutes.count([(now, 0.01, 0.0, reason)])
    told = said(minutes, now=205.0)
    assert [(each.begin.timestamp() - WALL, each.calls, each.errors) for each in told.minutes] == [
        (0.0, 1, {}),
        (60.0, 2, {"TOOL_ERROR": 1}),
        (180.0, 1, {}),
    ]
    assert told.minutes[0].begin == datetime.fromtimestamp(WALL, UTC)


def test_what_is_older_than_an_hour_is_forgotten_also_where_nothing_comes_any_more() -> None:
    minutes = history()
    for minute in range(90):
        minutes.count([(60.0 * minute, 0.01, 0.0, "OK")])
    assert [each.begin for each in minutes.last(60.0 * 89)] == [60.0 * minute for minute in range(30, 90)]
    assert minutes.last(60.0 * 150) == []


def test_percentiles_are_a_third_off_at_the_most() -> None:
    minutes, chance = history(), random.Random(1)
    times = sorted(chance.lognormvariate(-4, 1) for _ in range(10_000))
    for seconds in times:
        minutes.count([(1.0, seconds, 0.0, "OK")])
    told = said(minutes, now=2.0)
    for share, quantile in ((0.5, told.p50_seconds), (0.99, told.p99_seconds)):
        assert quantile is not None
        assert times[int(share * len(times))] <= quantile * 1.01 <= 1.36 * times[int(share * len(times))]


def test_the_queues_percentile_is_of_all_calls_also_of_those_that_did_not_wait() -> None:
    minutes = history()
    for number in range(1000):
        minutes.count([(1.0, 0.01, 0.5 if number < 5 else 0.0, "OK")])
    (minute,) = said(minutes, now=2.0).minutes
    assert minute.queue_p99_seconds == 0.0
    for _ in range(20):
        minutes.count([(1.0, 0.01, 0.5, "OK")])
    (minute,) = said(minutes, now=2.0).minutes
    assert minute.queue_p99_seconds == pytest.approx(0.5, rel=0.34)


def test_replicas_histories_are_one() -> None:
    one, other = history(), history()
    for number in range(100):
        one.count([(10.0, 0.001, 0.0, "OK")])
        other.count([(10.0, 0.1, 0.0, "OK" if number else "WORKER_LOST")])
    told = said(one, other, now=59.0)
    (minute,) = told.minutes
    assert (minute.calls, minute.errors) == (200, {"WORKER_LOST": 1})
    assert minute.p50_seconds == pytest.approx(0.001, rel=0.34)
    assert minute.p99_seconds == pytest.approx(0.1, rel=0.34)
    assert told.errors == {"WORKER_LOST": 1}


def test_the_rate_is_of_the_last_minute_whatever_the_clock_shows() -> None:
    minutes = history()
    for tenth in range(1800):
        minutes.count([(tenth / 10, 0.01, 0.0, "OK")])
    for now in (121.0, 150.0, 179.0):
        so_far = history()
        for tenth in range(int(now * 10)):
            so_far.count([(tenth / 10, 0.01, 0.0, "OK")])
        assert said(so_far, now=now).calls_per_second == pytest.approx(10, rel=0.02)
    assert said(minutes, now=500.0).calls_per_second == 0.0


def test_a_pool_without_calls_has_an_empty_history() -> None:
    told = said(history(), now=1.0)
    assert told == PoolHistory([], 0.0, None, None, {}, ())


def test_so_many_reasons_are_told_apart() -> None:
    minutes = history()
    for number in range(100):
        minutes.count([(1.0, 0.01, 0.0, f"REASON_{number}")])
    (minute,) = minutes.last(1.0)
    assert len(minute.errors) == MOST_REASONS + 1
    assert minute.errors[OTHER] == 100 - MOST_REASONS


def test_nothing_is_slow_by_a_few_calls() -> None:
    minutes = history()
    for now in (1.0, 61.0, 121.0):
        minutes.count([(now, 0.001, 0.0, "OK")])
    assert minutes.slow_seconds == SLOW_SECONDS


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_no_time_is_too_short_or_too_long(seconds: float) -> None:
    minutes = history()
    minutes.count([(1.0, seconds, seconds, "OK")])
    (minute,) = said(minutes, now=2.0).minutes
    assert minute.calls == 1
    assert minute.p50_seconds in (BOUNDS[0], BOUNDS[-1])
