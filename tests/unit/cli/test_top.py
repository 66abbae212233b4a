"""The screen of `snakepit top`: what fits, in which order, and what keys do."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from snakepit.cli.reach import OF_ONE_REPLICA
from snakepit.cli.top.asking import MOST_ASKED, busiest
from snakepit.cli.top.look import Look, PoolRow, row
from snakepit.cli.top.screen import draw, errors, page
from snakepit.cli.top.state import MOST_TYPED, SORTS, TITLES, State, keys, pressed, rows
from snakepit.client.history import Minute, PoolHistory
from snakepit.client.views import PoolInfo, WorkerInfo

DOCS = Path(__file__).resolve().parents[3] / "docs"
NOW = datetime(2026, 11, 29, 20, 30, tzinfo=UTC)


def pool(name: str, **fields: Any) -> PoolRow:
    usual: dict[str, Any] = {
        "available": True,
        "reason": "Ready",
        "message": "",
        "live_capsules": 1,
        "desired_capsules": 1,
        "ready_workers": 2,
        "busy_slots": 0,
        "total_slots": 2,
        "queue_depth": 0,
        "sessions": 0,
    }
    return PoolRow(name=name, **usual | fields)


def worker(number: int, message: str = "") -> WorkerInfo:
    return WorkerInfo(f"d-0/{number}", "i", "ready", "live", 1, 0, 5, 0, 0, 0.1, 0.0, 9.0, "", message, 1)


def pressing(state: State, typed: str, *shown: str) -> State:
    for key in keys(typed):
        state = pressed(state, key, shown, page(24))
    return state


@given(
    st.lists(
        st.builds(pool, st.text(max_size=60), available=st.booleans(), errors=st.dictionaries(st.text(), st.integers(1, 9**9))), max_size=40
    ),
    st.integers(0, 60),
    st.integers(1, 200),
    st.integers(1, 60),
    st.sampled_from([State(), State(help=True), State(typing=True, filter="a"), State(selected="x", reverse=True)]),
)
def test_whatever_there_is_the_screen_is_filled_and_nothing_is_beside_it(
    pools: list[PoolRow], workers: int, width: int, height: int, state: State
) -> None:
    pools = [
        pool(each.name, available=each.available, errors=each.errors, workers=[worker(n, each.name) for n in range(workers)])
        for each in pools
    ]
    lines = draw(Look(NOW, pools, problem="p" * 300), state, "localhost:7800", width, height)
    assert len(lines) == height
    assert all(cell_len(line.text) <= width for line in lines)


def test_the_screen_is_as_docs_command_line_md_shows_it() -> None:
    of_digits = WorkerInfo("digits-0-e5f04/0", "i", "ready", "live", 1, 0, 1204, 0, 38 << 20, 0.1, 0.0, 430.0, "", "", 1)
    digits = pool(
        "default/digits",
        live_capsules=2,
        desired_capsules=2,
        ready_workers=4,
        busy_slots=3,
        total_slots=4,
        sessions=2,
        calls_per_second=41.2,
        p50_seconds=0.0042,
        p99_seconds=0.056,
        queue_p99_seconds=0.0012,
        errors={"TOOL_ERROR": 3},
        workers=[of_digits],
    )
    reports = pool(
        "default/reports",
        ready_workers=1,
        total_slots=1,
        calls_per_second=0.1,
        p50_seconds=1.3,
        p99_seconds=2.4,
        queue_p99_seconds=0.0,
        errors={"DEADLINE": 1},
    )
    *drawn, foot = draw(Look(NOW, [reports, digits]), State(), "localhost:7800", 120, 24)
    page_shown = (DOCS / "command-line.md").read_text().partition("localhost:7800   20:30:00")
    shown = "".join(page_shown[1:]).partition("\n```")[0].splitlines()
    assert shown == [*(line.text.rstrip() for line in drawn[: len(shown) - 2]), "…", foot.text]


def test_through_a_forward_figures_are_of_one_replica_and_a_problem_goes_before_that() -> None:
    assert draw(Look(NOW, []), State(), "--kube", 120, 24, OF_ONE_REPLICA)[2].text == OF_ONE_REPLICA
    assert draw(Look(NOW, []), State(), "localhost:7800", 120, 24)[2].text == ""
    assert draw(Look(NOW, [], problem="away"), State(), "--kube", 120, 24, OF_ONE_REPLICA)[2].text == "away"


def test_the_chosen_pool_is_always_among_those_that_are_shown() -> None:
    found = [pool(f"default/p{number:03}") for number in range(300)]
    for chosen in (0, 1, 150, 298, 299):
        name = f"default/p{chosen:03}"
        lines = draw(Look(NOW, found), State(sort=0, selected=name), "x", 100, 24)
        assert [line.text.split()[0] for line in lines if line.look == "selected"] == [name]


def test_all_workers_that_fit_are_shown_and_the_others_counted() -> None:
    lines = draw(Look(NOW, [pool("default/d", workers=[worker(n) for n in range(50)])]), State(), "x", 100, 24)
    shown = [line.text for line in lines if line.text.startswith("d-0/")]
    assert 10 <= len(shown) < 20
    assert any(line.text.startswith(f"and {50 - len(shown)} more") for line in lines)


def test_each_column_sorts_the_largest_first_names_from_a_and_backwards_when_asked() -> None:
    quiet, busy = pool("a"), pool("b", ready_workers=9, busy_slots=2, queue_depth=1, sessions=1, errors={"DEADLINE": 1})
    busy = pool(
        "b",
        **{name: getattr(busy, name) for name in ("ready_workers", "busy_slots", "queue_depth", "sessions", "errors")},
        calls_per_second=1.0,
        p50_seconds=1.0,
        p99_seconds=1.0,
        queue_p99_seconds=1.0,
    )
    for sort, (title, _, _) in enumerate(SORTS):
        first = "a" if title == "NAME" else "b"
        assert rows([quiet, busy], State(sort=sort))[0].name == first, title
        assert rows([quiet, busy], State(sort=sort, reverse=True))[0].name != first, title


def test_pools_alike_stay_in_the_order_of_their_names() -> None:
    alike = [pool(name) for name in "cab"]
    assert [each.name for each in rows(alike, State())] == ["a", "b", "c"]
    assert [each.name for each in rows(alike, State(reverse=True))] == ["a", "b", "c"]


@pytest.mark.parametrize("typed", ["q", "Q", "\x03", "\x1b[21~"])
def test_any_of_these_keys_quits(typed: str) -> None:
    assert pressing(State(), typed).over
    assert pressing(State(help=True), typed).over


@pytest.mark.parametrize(
    ("typed", "chosen"), [("j", "b"), ("\x1b[B\x1bOB", "c"), ("jk", "a"), ("\x1b[F", "c"), ("\x1b[6~", "c"), ("\x1b[F\x1b[H", "a")]
)
def test_arrows_and_their_like_choose_a_pool_and_stop_at_the_ends(typed: str, chosen: str) -> None:
    assert pressing(State(), typed, "a", "b", "c").selected == chosen
    assert pressing(State(), "kkk", "a", "b", "c").selected == "a"
    assert pressing(State(selected="gone"), "j").selected == ""


def test_in_the_filter_keys_are_letters_and_no_more_than_there_is_room_for() -> None:
    typed = pressing(State(), "/qhj \x1b[A\x7f!")
    assert (typed.filter, typed.typing, typed.over) == ("qhj!", True, False)
    assert pressing(typed, "\r") == State(filter="qhj!")
    assert pressing(typed, "\x1b") == State()
    assert len(pressing(State(), "/" + "x" * 500).filter) == MOST_TYPED


def test_the_sort_column_goes_round_and_begins_anew_in_its_own_order() -> None:
    assert pressing(State(reverse=True), ">").reverse is False
    assert pressing(State(sort=0), "<").sort == len(TITLES) - 1
    assert pressing(State(sort=0), "\x1b[17~").sort == 1


HTOP = {
    "F1 h ?": State(help=True),
    "F3 / F4 \\": State(typing=True),
    "F6 >": State(sort=TITLES.index("CALLS/S") + 1),
    "<": State(sort=TITLES.index("CALLS/S") - 1),
    "F10 q": State(over=True),
    "I": State(reverse=True),
    "N": State(sort=TITLES.index("NAME")),
    "P": State(sort=TITLES.index("BUSY")),
    "Z": State(paused=True),
    "Down": State(selected="b"),
    "End PgDn": State(selected="c"),
}
"""What its manual page says of them (3.2.2), as far as it is about something that there is here."""
SENT = {
    "F1": "\x1bOP",
    "F3": "\x1bOR",
    "F4": "\x1bOS",
    "F6": "\x1b[17~",
    "F10": "\x1b[21~",
    "Down": "\x1b[B",
    "End": "\x1b[F",
    "PgDn": "\x1b[6~",
}


@pytest.mark.parametrize(("key", "becomes"), [(key, becomes) for named, becomes in HTOP.items() for key in named.split()])
def test_a_key_does_what_it_does_in_htop(key: str, becomes: State) -> None:
    assert pressing(State(), SENT.get(key, key), "a", "b", "c") == becomes


def test_what_has_been_paused_goes_on_by_either_key() -> None:
    assert pressing(State(), "Z ") == pressing(State(), " Z") == State()
    assert pressing(State(), " ").paused


@given(st.text(max_size=200))
def test_whatever_is_typed_nothing_breaks(typed: str) -> None:
    pressing(State(), typed, "a", "b")


def test_calls_are_asked_for_of_the_busiest_pools_that_the_filter_lets_through() -> None:
    found = [PoolInfo(f"default/p{number:03}", True, "Ready", "", 1, 1, 2, 0, 2, 0, 0, 1) for number in range(MOST_ASKED + 5)]
    found += [
        PoolInfo("team/busy", True, "Ready", "", 1, 1, 2, 2, 2, 0, 0, 1),
        PoolInfo("team/waiting", True, "Ready", "", 1, 1, 2, 2, 2, 9, 0, 1),
    ]
    chosen = [each.name for each in busiest(found, "")]
    assert (len(chosen), chosen[:3]) == (MOST_ASKED, ["team/waiting", "team/busy", "default/p000"])
    assert [each.name for each in busiest(found, "TEAM")] == ["team/waiting", "team/busy"]


def test_errors_are_named_the_most_first_and_the_rest_counted() -> None:
    assert errors({"A": 1, "B": 5, "C": 2, "D": 2, "E": 1, "F": 1}) == "B 5, C 2, D 2, A 1, others 2"
    assert errors({}) == ""


def test_a_pool_without_calls_has_no_figures_and_one_without_a_history_neither() -> None:
    info = PoolInfo("default/d", True, "Ready", "", 1, 1, 2, 0, 2, 0, 0, 1)
    old = Minute(NOW, 7, {}, 1.0, 1.0, 9.0)
    assert row(info, PoolHistory([old], 0.0, None, None, {}, ()), []).queue_p99_seconds is None
    assert row(info, None, []).calls_per_second is None
    assert row(info, PoolHistory([old], 2.0, 1.0, 1.0, {"DEADLINE": 1}, ()), []).queue_p99_seconds == 9.0


def test_a_screen_of_few_lines_has_pools_instead_of_a_heading_without_workers() -> None:
    many = [pool(f"default/p{number}", workers=[worker(each) for each in range(3)]) for number in range(9)]
    shown = [line.text.split()[0] for line in draw(Look(NOW, many), State(), "localhost:7800", 80, 10) if line.text.startswith("default/")]
    assert shown == [f"default/p{number}" for number in range(5)]
    texts = [line.text for line in draw(Look(NOW, many[:1]), State(), "localhost:7800", 80, 11)]
    assert [text.split()[0] for text in texts if text] == [
        "localhost:7800",
        "pools",
        "NAME",
        "default/p0",
        "workers",
        "ID",
        "d-0/0",
        "and",
        "q",
    ]
