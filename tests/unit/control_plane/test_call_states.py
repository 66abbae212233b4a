"""A call's states: every way through them is in the one table; one place makes calls; and the documents have the rooms of today."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit_control_plane.model.call import Stage
from snakepit_control_plane.model.states import ENDED, NEW, RETURNED, TABLE, ImpossibleMove, State
from support.calls import make_call

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "control-plane/src/snakepit_control_plane"
PAGE = (ROOT / "docs/architecture.md").read_text()
EVENTS = sorted({event for row in TABLE.values() for event in row})


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_a_call_goes_where_the_table_says_and_nowhere_else(events: list[str]) -> None:
    call, done = make_call(call_id="abc"), list[str]()
    for event in events:
        before = call.state
        if event not in TABLE[before]:
            with pytest.raises(ImpossibleMove) as error:
                call.move(event)  # type: ignore[arg-type]
            assert str(error.value) == f"{event!r} can't happen to call abc: it is {before}, after {', '.join(done) or 'nothing'}"
            assert call.state is before
            continue
        call.move(event)  # type: ignore[arg-type]
        done = [event] if call.state is RETURNED else [*done, event]
        assert call.state is TABLE[before][event]  # type: ignore[index]


def reachable(state: State) -> set[State]:
    found, left = {state}, [state]
    while left:
        for after in TABLE[left.pop()].values():
            if after not in found:
                found.add(after)
                left.append(after)
    return found


def test_every_state_can_come_to_pass_and_from_each_a_call_can_end() -> None:
    assert reachable(NEW) == set(TABLE)
    assert all(ENDED in reachable(state) for state in TABLE)
    assert not TABLE[ENDED]


def test_of_a_call_that_comes_back_again_and_again_only_the_last_time_is_remembered() -> None:
    call = make_call()
    for _ in range(3):
        call.move("wait")
        call.move("send")
        call.move("return")
    assert call.state is RETURNED
    assert call.told() == "return"


def test_the_stages_that_a_call_has_passed_are_undone_in_reverse() -> None:
    call, first, second = make_call(), Stage(), Stage()
    call.passes(first)
    call.passes(second)
    assert list(call.passed()) == [second, first]


# ---- the documents


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        ("Inside the control plane", "servers > fleet > flow > store > policy > model"),
        ("A call's way down", "intake > idempotency > sessions > dispatcher > open calls"),
    ],
)
def test_the_rooms_and_stages_of_the_documents_are_those_of_import_linter(contract: str, said: str) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["name"].startswith(contract)]
    rooms = [each.split(" | ")[0].rpartition(".")[2].replace("_", " ") for each in layers]
    named = said.split(" > ")
    assert [room for room in rooms if room in named] == named
    assert said in PAGE


# ---- the one door


def calls_of(name: str) -> set[str]:
    """The modules that call a thing of that name."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
                found.add(path.relative_to(SOURCES).as_posix())
    return found


def test_one_place_makes_calls() -> None:
    assert calls_of("Call") == {"flow/open_calls.py"}
    assert calls_of("request_of") == {"flow/intake.py"}
