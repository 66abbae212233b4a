"""The soak's accounts show what is wrong: a check that can't fail is none."""

from __future__ import annotations

import pytest

from snakepit import Started, WorkerLost
from tests.soak.__main__ import MOST_SECONDS, recovered
from tests.soak.ledger import GONE, OK, Ledger


@pytest.mark.parametrize(
    ("how", "runs", "wrong"),
    [
        (OK, 1, False),
        (OK, 0, True),
        (OK, 2, True),
        (Started.NO.name, 0, False),
        (Started.NO.name, 1, True),
        (Started.MAYBE.name, 1, False),
        (Started.MAYBE.name, 2, True),
        (GONE, 0, False),
        (GONE, 2, True),
    ],
)
def test_how_a_call_ended_says_how_often_its_tool_may_have_begun(how: str, runs: int, wrong: bool) -> None:
    ledger = Ledger()
    token = ledger.token()
    ledger.end(token, how)
    assert bool(ledger.problems([token] * runs)) == wrong


def test_a_call_without_an_end_and_a_run_that_nobody_asked_for_are_named() -> None:
    ledger = Ledger()
    ledger.token()
    assert ledger.problems(["stranger"]) == ["1 calls never ended", "stranger was run and never asked for"]


def test_an_error_counts_as_what_it_says_of_the_start() -> None:
    ledger = Ledger()
    token = ledger.token()
    ledger.failed(token, WorkerLost("gone", started=Started.MAYBE))
    assert ledger.ends[token] == "MAYBE"


def test_the_routers_counts_must_be_the_clients() -> None:
    ledger = Ledger()
    for how in (OK, OK, GONE):
        ledger.end(ledger.token(), how)
    assert ledger.router_problems({"OK": 2, "CANCELLED": 1}) == []
    assert ledger.router_problems({"OK": 3}) == []
    assert ledger.router_problems({"OK": 1, "CANCELLED": 2}) == ["the router counted 1 OK, the clients 2, and 1 that may be either"]
    assert ledger.router_problems({"OK": 2}) == ["the router counted 2 calls, the clients 3"]


def test_what_a_killed_replica_had_counted_last_may_be_missing_and_no_more() -> None:
    ledger = Ledger()
    for how in (OK, OK, OK, Started.MAYBE.name):
        ledger.end(ledger.token(), how)
    assert ledger.router_problems({"OK": 2, "REPLICA_LOST": 1}, unread=1) == []
    assert ledger.router_problems({"OK": 1, "REPLICA_LOST": 1}, unread=1) != []
    assert ledger.router_problems({"OK": 4}, unread=1) == []


@pytest.mark.parametrize(("calls", "counted", "wrong"), [(3, 6, False), (3, 7, True), (100, 104, False), (100, 105, True), (100, 99, True)])
def test_the_router_may_count_as_many_more_calls_as_the_sdk_may_send_again(calls: int, counted: int, wrong: bool) -> None:
    ledger = Ledger()
    for _ in range(calls):
        ledger.end(ledger.token(), GONE)
    assert bool(ledger.router_problems({"CANCELLED": counted})) == wrong


def test_a_pool_that_is_weak_for_too_long_after_a_kill_is_a_problem() -> None:
    assert recovered("without load", {"agent": 1.0, "worker": MOST_SECONDS}) == []
    (problem,) = recovered("without load", {"agent": 1.0, "worker": MOST_SECONDS + 1})
    assert "worker, without load" in problem
