"""Temporary files of a worker: they are in a folder of its own, and go with it, however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit._ipc.control import StartFailed
from snakepit_worker import scratch
from snakepit_worker.testing import LocalAgent, LocalWorker, wait_until
from support import log_lines

LITTERING = "support.littering:Littering"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    with LocalAgent({"TMPDIR": str(tmp_path)}) as agent:
        yield agent


def litter(worker: LocalWorker) -> tuple[Path, Path]:
    """What it has left, and its folder."""
    left, folder, _ = worker.call("litter")
    return Path(left), Path(folder)


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@pytest.mark.parametrize("startup", ["fork", "spawn"])
def test_what_a_killed_worker_has_left_goes_and_what_others_have_stays(agent: LocalAgent, tmp_path: Path, startup: str) -> None:
    doomed, other = (agent.start(LITTERING, index, startup=startup) for index in range(2))
    (left, folder), (kept, _) = litter(doomed), litter(other)
    assert left.parent == folder != kept.parent
    assert folder.is_relative_to(tmp_path)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.exited()
    wait_until(lambda: not folder.exists())
    assert kept.exists()


def test_what_an_import_has_left_is_there_for_as_long_as_workers_may_use_it(agent: LocalAgent, tmp_path: Path) -> None:
    first = agent.start(LITTERING)
    of_the_import = Path(first.call("litter")[2])
    assert first.stop().code == 0
    assert Path(agent.start(LITTERING).call("litter")[2]) == of_the_import
    assert of_the_import.exists()
    assert agent.close() == 0
    assert left_in(tmp_path) == []


def test_however_the_place_is_written_a_worker_has_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with LocalAgent({"TMPDIR": f"{tmp_path}/a/../a/"}) as agent:
        left, folder = litter(agent.start(LITTERING))
    assert left.parent == folder
    assert folder.is_relative_to(tmp_path / "a")


def test_a_worker_that_did_not_come_to_be_leaves_nothing(agent: LocalAgent, tmp_path: Path) -> None:
    incarnation = agent.request("support.failing_import:Adapter")
    agent.heard.wait(StartFailed, lambda frame: frame.incarnation == incarnation)
    wait_until(lambda: [each for folder in left_in(tmp_path) for each in left_in(folder)] == [])


def test_nothing_is_left_when_the_keeper_is_killed(agent: LocalAgent, tmp_path: Path) -> None:
    litter(agent.start(LITTERING))
    agent.keeper.kill()
    wait_until(lambda: left_in(tmp_path) == [])


def test_a_keeper_removes_what_one_of_before_has_left_and_nothing_of_one_that_runs(agent: LocalAgent, tmp_path: Path) -> None:
    kept, _ = litter(agent.start(LITTERING))
    left = tmp_path / f"{scratch.PREFIX}of-before"
    (left / "of-a-worker").mkdir(parents=True)
    others = tmp_path / "somebody-elses"
    others.mkdir()
    with LocalAgent({"TMPDIR": str(tmp_path)}) as second:
        second.start(LITTERING)
        wait_until(lambda: not left.exists())
    assert kept.exists()
    assert others.exists()


def test_without_a_place_for_folders_workers_start_and_a_line_of_the_log_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file, LocalAgent({"TMPDIR": str(tmp_path / "missing")}, stderr=file) as agent:
        assert agent.start("support.talking:Talking").stop().code == 0
    said = log_lines.lines(log.read_bytes().splitlines(keepends=True))
    sentence = "workers have no temporary folders of their own, and what a killed one leaves stays"
    assert [each["logger"] for each in said if each["message"].startswith(sentence)] == ["snakepit.keeper"]
