"""The hooks of an adapter, each once and in its place, whether they are async or not, and also where they fork."""

from __future__ import annotations

from pathlib import Path

import pytest

import snakepit.testing
from snakepit.local.frames import EndSession
from snakepit_worker.testing import LocalAgent, wait_until
from support.authored import Hooked, HookedLater

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
