"""Which calls count against a pool's objectives, and which of them were bad."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from snakepit._objectives import budget_left
from snakepit.errors import BY_REASON
from snakepit.spec import decode_spec
from snakepit.spec.fields import SloSpec
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.objectives import HOUR, HOURS, Objectives, judge
from snakepit_control_plane.model.pool import Pool

BOTH = SloSpec(availability_percent=99.9, latency_milliseconds=500)
NO, MAYBE, YES = common_pb2.STARTED_NO, common_pb2.STARTED_MAYBE, common_pb2.STARTED_YES


@pytest.mark.parametrize(
    ("reason", "started", "seconds", "verdict"),
    [
        ("OK", 0, 0.5, (True, True)),
        ("OK", 0, 0.501, (True, False)),
        ("TOOL_ERROR", 0, 0.1, (True, True)),
        ("TOOL_ERROR", 0, 3.0, (True, False)),
        ("WORKER_LOST", MAYBE, 0.1, (False, True)),
        ("QUEUE_TIMEOUT", NO, 10.0, (False, False)),
        ("POOL_SATURATED", NO, 0.0, (False, True)),
        ("INTERNAL", MAYBE, 0.1, (False, True)),
        ("A_REASON_OF_TOMORROW", NO, 0.1, (False, True)),
        ("INVALID_ARGUMENTS", NO, 0.1, (None, None)),
        ("PERMISSION_DENIED", NO, 3.0, (None, None)),
        ("PAYLOAD_TOO_LARGE", NO, 0.1, (None, None)),
        ("PAYLOAD_TOO_LARGE", YES, 0.1, (True, True)),
        ("DEADLINE", NO, 0.6, (False, False)),
        ("DEADLINE", MAYBE, 0.2, (None, None)),
        ("CANCELLED", MAYBE, 0.2, (None, None)),
        ("CANCELLED", YES, 0.2, (None, None)),
        ("CANCELLED", NO, 0.6, (None, False)),
    ],
)
def test_a_call_is_bad_by_whose_fault_it_is(reason: str, started: int, seconds: float, verdict: tuple[bool | None, bool | None]) -> None:
    assert judge(BOTH, reason, started, seconds, is_stream=False) == verdict


def test_exceptions_of_tools_are_bad_where_the_pool_says_so() -> None:
    slo = msgspec.structs.replace(BOTH, tool_errors="bad")
    assert judge(slo, "TOOL_ERROR", 0, 0.1, is_stream=False) == (False, True)
    assert judge(slo, "TOOL_NOT_FOUND", YES, 0.1, is_stream=False) == (False, True), "a tool that calls one that isn't there"
    assert judge(slo, "TOOL_NOT_FOUND", NO, 0.1, is_stream=False) == (None, None)


def test_a_stream_is_never_late() -> None:
    assert judge(BOTH, "OK", 0, 60.0, is_stream=True) == (True, None)
    assert judge(BOTH, "DEADLINE", YES, 0.2, is_stream=True) == (False, None)


def test_a_pool_that_promises_no_time_has_failed_each_deadline() -> None:
    assert judge(SloSpec(availability_percent=99), "DEADLINE", MAYBE, 0.01, is_stream=False) == (False, None)


def test_each_failure_is_somebodys_fault() -> None:
    mine = {reason for reason in BY_REASON if judge(BOTH, reason, NO, 0.1, is_stream=False)[0] is False}
    assert mine == {
        "DRAINING",
        "INTERNAL",
        "POOL_NOT_READY",
        "POOL_SATURATED",
        "QUEUE_TIMEOUT",
        "REPLICA_LOST",
        "SERVER_UNAVAILABLE",
        "SESSION_QUOTA",
        "SESSION_WORKER_UNAVAILABLE",
        "STALE_EPOCH",
        "STORE_UNAVAILABLE",
        "WORKER_LOST",
    }


def said(objectives: Objectives, now: float) -> list[tuple[str, int, int, int]]:
    return [(each.name, each.calls, each.bad_calls, each.since.seconds) for each in objectives.messages(now)]


def test_calls_count_for_thirty_days() -> None:
    objectives = Objectives(BOTH, now=100.0, wall=1_000_000.0)
    objectives.count("WORKER_LOST", MAYBE, 0.1, 100.0, is_stream=False)
    objectives.count("OK", 0, 2.0, 100.0 + HOUR, is_stream=False)
    assert said(objectives, 100.0 + HOUR) == [("availability", 2, 1, 1_000_100), ("latency", 2, 1, 1_000_100)]
    month = 100.0 + HOURS * HOUR
    assert said(objectives, month - 1)[0] == ("availability", 2, 1, 1_000_100)
    assert said(objectives, month)[0] == ("availability", 1, 0, 1_003_700), "the oldest hour has gone"
    assert said(objectives, 10 * month)[0] == ("availability", 0, 0, 1_003_700 - 3600 + int((10 * month - 100) // HOUR - HOURS + 1) * 3600)
    assert list(objectives.totals()) == [("availability", 99.9, 2, 1), ("latency", 99, 2, 1)], "counters never go down"


def test_nobody_looks_for_years_and_it_is_no_work() -> None:
    objectives = Objectives(BOTH, now=0.0)
    objectives.count("OK", 0, 0.1, 1e12, is_stream=False)
    assert said(objectives, 1e12)[0][1:3] == (1, 0)


def pool_of(slo: Any, uid: str = "u") -> link_pb2.PoolSettings:
    spec = {"worker": {"adapter": "m:C"}} | ({"slo": slo} if slo else {})
    return link_pb2.PoolSettings(pool="default/p", uid=uid, spec=msgspec.json.encode(spec).decode())


def counted(*specs: Any, uids: tuple[str, ...] = ("u", "u")) -> list[tuple[str, float, int, int]]:
    """What a pool says of a failure under the first spec, when it has the last one."""
    given = [pool_of(slo, uid) for slo, uid in zip(specs, uids, strict=True)]
    pool = Pool(given[0], decode_spec(given[0].spec), 0.0)
    if pool.objectives is not None:
        pool.objectives.count("WORKER_LOST", MAYBE, 0.1, 1.0, is_stream=False)
    pool.configure(given[1], decode_spec(given[1].spec), 2.0)
    return [(each.name, each.target_percent, each.calls, each.bad_calls) for each in pool.describe(3.0).objectives]


def test_counts_go_on_under_another_target_and_begin_anew_where_calls_are_judged_by_something_else() -> None:
    before = {"availabilityPercent": 99.9}
    assert counted(before, {"availabilityPercent": 99}) == [("availability", 99, 1, 1)]
    assert counted(before, {**before, "toolErrors": "bad"}) == [("availability", 99.9, 0, 0)]
    assert counted(before, before, uids=("u", "v")) == [("availability", 99.9, 0, 0)], "another pool of that name"
    assert counted(before, None) == []
    assert counted(None, before) == [("availability", 99.9, 0, 0)]


@pytest.mark.parametrize(
    ("target", "calls", "bad", "left"),
    [
        (99.9, 999, 1, None),
        (99.9, 1000, 0, 100),
        (99.9, 1000, 1, 0),
        (99.9, 3000, 1, 66),
        (99.9, 2000, 3, -50),
        (99.9, 1000, 1000, -100),
        (50, 2, 0, 100),
        (99.999, 99_999, 0, None),
        (99.999, 100_000, 0, 100),
        (99, 0, 0, None),
    ],
)
def test_what_is_left_of_a_budget(target: float, calls: int, bad: int, left: int | None) -> None:
    assert budget_left(target, calls, bad) == left
