"""The hooks of an adapter, each once and in its place, whether they are async or not, and also where they fork."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import snakepit
import snakepit.testing
from snakepit._ipc.worker import EndSession
from snakepit_worker.testing import LocalAgent, outcome, wait_until
from support.authored import Hooked, HookedLater, Remembering, RememberingLater

HOOKS = ["setup", "start a", "visit", "visit", "end a", "on_drain", "teardown"]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


@pytest.mark.parametrize("profile", ["process", "thread"])
@pytest.mark.parametrize("adapter", ["Hooked", "HookedLater", "Forking", "ForkingLater"])
def test_every_hook_runs_once_in_its_place_and_async_ones_in_the_loop_of_the_tools(notes: Path, adapter: str, profile: str) -> None:
    with LocalAgent({"NOTES": str(notes)}) as agent:
        worker = agent.start(f"support.authored:{adapter}", profile=profile)
        for _ in range(2):
            assert worker.call("visit", session_id="a") is True
        worker.send(EndSession("a"))
        wait_until(lambda: "end a" in notes.read_text())
        assert worker.stop().code == 0
    assert notes.read_text().splitlines() == HOOKS


@pytest.mark.parametrize("adapter", [Hooked, HookedLater])
def test_the_same_in_a_test_without_a_process(notes: Path, adapter: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES", str(notes))
    with snakepit.testing.start(adapter) as harness:
        for _ in range(2):
            assert harness.call("visit", session_id="a") is True
        harness.end_session("a")
    assert notes.read_text().splitlines() == HOOKS


@pytest.mark.parametrize("profile", ["process", "thread"])
@pytest.mark.parametrize("adapter", ["Remembering", "RememberingLater"])
def test_a_session_is_rebuilt_from_its_state_where_it_has_moved(adapter: str, profile: str) -> None:
    with LocalAgent() as agent:
        first = agent.start(f"support.authored:{adapter}", profile=profile)
        assert [first.call("learn", {"word": word}, session_id="ada") for word in "ab"] == [["a"], ["a", "b"]]
        first.signal(signal.SIGKILL)
        first.exited()
        second = agent.start(f"support.authored:{adapter}", profile=profile)
        assert second.call("learn", {"word": "c"}, session_id="ada") == ["a", "b", "c"]
        assert second.call("learn", {"word": "x"}, session_id="bob") == ["x"]
        assert second.call("starts") == ["ada", "bob"]


@pytest.mark.parametrize("adapter", [Remembering, RememberingLater])
def test_it_is_in_a_test_without_a_process_too(adapter: type) -> None:
    with snakepit.testing.start(adapter) as harness:
        harness.state.put("ada", "words", ["a"])
        assert harness.call("learn", {"word": "b"}, session_id="ada") == ["a", "b"]


def test_a_start_that_fails_is_the_calls_failure_and_is_tried_again_by_the_next() -> None:
    with LocalAgent() as agent:
        worker = agent.start("support.authored:Remembering")
        with pytest.raises(snakepit.ToolError, match="not yet"):
            worker.call("learn", {"word": "a"}, session_id="broken")
        assert worker.call("learn", {"word": "a"}, session_id="broken") == ["a"]


def test_calls_of_a_session_wait_for_its_start_and_those_of_others_do_not() -> None:
    with LocalAgent() as agent:
        worker = agent.start("support.authored:Remembering", profile="thread", slots=4)
        waiting = [worker.begin("learn", {"word": word}, session_id="slow") for word in "ab"]
        assert worker.call("learn", {"word": "x"}, session_id="ada") == ["x"]
        worker.call("go_on")
        for each in waiting:
            outcome(worker.done(each))
        assert sorted(worker.call("learn", {"word": "c"}, session_id="slow")) == ["a", "b", "c"]
        assert worker.call("starts") == ["ada", "slow"]


def test_a_start_ends_with_its_calls_deadline() -> None:
    with LocalAgent() as agent:
        worker = agent.start("support.authored:Stuck")
        worker.ready()
        with pytest.raises(snakepit.DeadlineExceeded):
            worker.call("visit", session_id="ada", timeout=0.2)
        assert worker.call("visit") is None
