"""Figures and drawings of the console."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from snakepit._telemetry.metrics.control_plane import SESSIONS_MOVED
from snakepit.client.history import Minute
from snakepit.client.views import MoveInfo, WorkerInfo
from snakepit_gateway.console import picture
from snakepit_gateway.console.words import moved, rate, seconds, size, span


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.00012, "0.1 ms"),
        (0.0123, "12 ms"),
        (0.09951, "0.1 s"),
        (1.26, "1.3 s"),
        (9.96, "10 s"),
        (75.4, "1 min 15 s"),
    ],
)
def test_a_duration_has_the_unit_that_suits(value: float | None, said: str) -> None:
    assert seconds(value) == said


def test_larger_figures() -> None:
    assert [span(each) for each in (0.4, 59.7, 601, 3725, 90_000)] == ["0 s", "1 min 00 s", "10 min", "1 h 02 min", "1 d 1 h"]
    assert [size(each) for each in (0, 999, 1000, 300 << 20, 5 << 40)] == ["0 B", "999 B", "1.0 KiB", "300 MiB", "5.0 TiB"]
    assert [rate(each) for each in (0.001, 0.25, 3.51, 1234.5)] == ["0", "0.25", "3.5", "1,234"]


def test_the_last_hour_ends_now_and_has_a_mark_where_calls_failed() -> None:
    now = datetime(2026, 11, 29, 12, 0, 30, tzinfo=UTC)
    minutes = [Minute(now.replace(second=0) - timedelta(minutes=back), 60, {"TOOL_ERROR": back}, 0.1, 0.2, 0.0) for back in (0, 30, 90)]
    line = picture.spark(minutes, now)
    assert line.label == "last hour: 120 calls, 60 in the busiest minute, 30 failed"
    assert line.points.startswith("0.0,23.0")
    assert line.points.endswith("120.0,2.0")
    assert len(line.errors) == 1
    at, calls, failed, _, p99 = picture.series(minutes, now)
    assert (at[-1], calls[-1], failed[-1], p99[-1], p99[-2]) == (now.replace(second=0).timestamp(), 1.0, 0.0, 200.0, None)


def test_capsules_stand_in_the_order_of_their_numbers() -> None:
    names = sorted(["digits-10-ab", "digits-2-ab", "digits-1-ab"], key=picture.natural)
    assert names == ["digits-1-ab", "digits-2-ab", "digits-10-ab"]


def worker(id_: str, node: str, state: str = "ready", running: int = 0) -> WorkerInfo:
    return WorkerInfo(id_, "i", state, "live", 2, running, 0, 0, 0, 0.1, 0.0, 1.0, "", "", 1, node=node)


def test_a_node_has_its_capsules_and_how_many_of_their_workers_serve() -> None:
    workers = [
        worker("a/0", "node-10", running=2),
        worker("a/1", "node-10", "backoff"),
        worker("b/0", "node-10"),
        worker("c/0", "node-9", "starting"),
        worker("d/0", ""),
        worker("e/0", "node-2"),
        worker("f/0", "node-1"),
    ]
    sick = [picture.Node("node-9", 1, 1, 0, 0, 2), picture.Node("node-10", 2, 3, 2, 2, 6)]
    assert picture.nodes(workers) == [*sick, picture.Node("node-1", 1, 1, 1, 0, 2), picture.Node("node-2", 1, 1, 1, 0, 2)]
    assert [each.node for each in picture.capsules(workers[:5], [])] == ["node-10", "node-10", "node-9", ""]


def test_each_reason_for_which_sessions_move_is_a_clause_for_people() -> None:
    reasons = SESSIONS_MOVED.values["reason"]
    assert len(reasons) == 8
    for reason in reasons:
        assert moved(MoveInfo(2, datetime.now(UTC), reason, "a/0")) not in ("", reason)
    assert moved(MoveInfo(2, datetime.now(UTC), "of a later version", "a/0")) == "of a later version"


def test_an_element_of_a_page_has_an_id_that_a_selector_can_have() -> None:
    assert picture.element_id("c-", 'a.b/"><x') == "c-a_2eb_2f_22_3e_3cx"
