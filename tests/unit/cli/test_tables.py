"""Tables: whole lines that fit, ages and sizes as Kubernetes writes them."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.cells import cell_len

from snakepit.cli.tables import EVENTS, GAP, POOLS, Column, age, call_attributes, calls, lines, seconds, size
from snakepit.client.views import CallEvent, CallInfo, ObjectiveInfo, PoolInfo


def column(index: int, title: str, rank: int = 1) -> Column:
    def cell(row: Any) -> object:
        return row[index]

    return Column(title, cell, rank)


COLUMNS = (column(0, "ID", 0), column(1, "STATE", 1), column(2, "SERVED", 3), column(3, "MESSAGE", 2))
ROWS = [("digits-0/0", "ready", 12, "the worker ended: out of memory, at digits/tools.py"), ("digits-0/1", "backoff", 0, "")]


def test_in_a_pipe_every_column_is_whole_and_every_cell_has_something() -> None:
    header, first, second = lines(COLUMNS, ROWS, width=None)
    assert header == "ID           STATE     SERVED   MESSAGE"
    assert first == "digits-0/0   ready     12       the worker ended: out of memory, at digits/tools.py"
    assert second == "digits-0/1   backoff   0        -"


def test_the_last_column_is_cut_where_it_does_not_fit() -> None:
    assert lines(COLUMNS, ROWS, width=50)[1] == "digits-0/0   ready     12       the worker ended:…"


def test_the_least_wanted_columns_give_way_first_and_the_most_wanted_never() -> None:
    assert lines(COLUMNS, ROWS, width=42)[0].split() == ["ID", "STATE", "MESSAGE"]
    assert lines(COLUMNS, ROWS, width=30)[0].split() == ["ID", "STATE"]
    assert lines(COLUMNS, ROWS, width=15)[0].split() == ["ID"]
    assert lines(COLUMNS, ROWS, width=5)[1] == "digi…"


def test_line_breaks_of_a_cell_do_not_break_the_line() -> None:
    assert lines(COLUMNS[:1], [("a\nb\tc",)], width=None) == ["ID", "a b c"]


def test_no_line_is_ever_longer_than_the_terminal_and_none_is_lost() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(300):
        columns = [column(i, "T" * chance.randint(1, 12), chance.randint(0 if i == 0 else 1, 5)) for i in range(chance.randint(1, 9))]
        rows = [tuple("字x "[chance.randint(0, 2)] * chance.randint(0, 30) for _ in columns) for _ in range(chance.randint(0, 5))]
        width = chance.randint(1, 120)
        found = lines(columns, rows, width=width)
        assert len(found) == len(rows) + 1
        assert max(map(cell_len, found)) <= width, (found, width)
        assert max(cell_len(line) for line in lines(columns, rows, width=None)) <= sum(30 * 2 + len(GAP) for _ in columns)


def info(*left: int | None) -> PoolInfo:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    made = tuple(ObjectiveInfo("availability", 99.9, 5000, 1, each, now) for each in left)
    return PoolInfo("default/digits", True, "Ready", "", 1, 1, 1, 0, 1, 0, 0, 1, made)


def test_a_pool_shows_what_is_left_of_the_budget_that_has_least() -> None:
    header, *rows = lines(POOLS, [info(83, -5), info(None, 40), info(None), info()], width=None)
    at = header.split().index("BUDGET")
    assert [row.split()[at] for row in rows] == ["-5%", "40%", "-", "-"]


AGES = {0: "0s", 19.9: "19s", 59.9: "59s", 60: "1m", 3599: "59m", 7200: "2h", 86399: "23h", 4 * 86400: "4d", 4e7: "1y", -3: "0s"}


@pytest.mark.parametrize(("seconds", "text"), AGES.items())
def test_ages_are_written_as_kubectl_writes_them(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), {0: "0", 1023: "1023", 20480: "20Ki", 40_000_000: "38Mi", 2**32: "4096Mi", 2**40: "1024Gi"}.items()
)
def test_sizes_are_written_as_kubernetes_writes_them(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0.0, "0.0ms"), (0.0004, "0.4ms"), (0.0131, "13ms"), (0.9, "900ms"), (2.14, "2.1s"), (45.2, "45s"), (3600.0, "3600s")],
)
def test_durations_have_two_digits_or_more(count: float, text: str) -> None:
    assert seconds(count) == text


NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


def call_info(**changed: Any) -> CallInfo:
    texts = dict.fromkeys(CallInfo.__struct_fields__, "")
    numbers = dict.fromkeys(("queue_seconds", "run_seconds", "total_seconds", "tries", "bytes_in", "bytes_out", "depth"), 0)
    said = {"reason": "OK", "state": "ended", "started": "yes", "created": NOON, "events": []}
    return CallInfo(**{**texts, **numbers, **said, **changed})


def row_of(call: CallInfo) -> dict[str, str]:
    columns = [each for each in calls(NOON) if not each.wide]
    return {each.title: str(each.cell(call)) for each in columns}


def test_a_call_whose_worker_died_says_how_and_nobody_knows_how_long_it_ran() -> None:
    lost = call_info(reason="WORKER_LOST", error_type="oom", started="maybe", tries=1, total_seconds=30.0)
    assert (row_of(lost)["REASON"], row_of(lost)["RUN"]) == ("WORKER_LOST", "-")
    assert ("State", "ended: WORKER_LOST, oom (started: maybe)") in call_attributes(lost)
    raised = call_info(reason="TOOL_ERROR", error_type="KeyError", tries=1, run_seconds=0.25)
    assert (row_of(raised)["REASON"], row_of(raised)["RUN"]) == ("KeyError", "250ms")
    assert row_of(call_info(reason="POOL_SATURATED", started="no"))["RUN"] == "0.0ms"


def test_the_way_of_a_call_is_told_in_words() -> None:
    events = [CallEvent(seconds=0.0, what=what, detail=detail) for what, detail in (("sent", "a-0/0"), ("rerun", "a-0/0"), ("queued", ""))]
    told = [line.split(maxsplit=2)[1:] for line in lines(EVENTS, events, width=None)[1:]]
    assert told == [
        ["sent", "a-0/0"],
        ["rerun", "a-0/0 was lost, and the tool is idempotent"],
        ["queued", "for a slot, or for its session's turn"],
    ]
