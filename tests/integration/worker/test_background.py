"""Tasks that an adapter has left in its event loop run while its worker waits for calls, and what they do ends with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakepit._ipc.worker import EndSession
from snakepit_worker.testing import LocalAgent, LocalWorker, is_alive, wait_until


def ticks(folder: Path) -> int:
    return len((folder / "ticks").read_text()) if (folder / "ticks").exists() else 0


def started(agent: LocalAgent, folder: Path, misbehave: str = "", startup: str = "fork") -> LocalWorker:
    env = {"NOTE": str(folder / "note"), "TICKS": str(folder / "ticks"), "CHILD": str(folder / "child"), "MISBEHAVE": misbehave}
    worker = agent.start("support.background:Background", env=env, startup=startup)
    worker.ready()
    return worker


def test_a_task_of_setup_runs_while_no_call_does(agent: LocalAgent, tmp_path: Path) -> None:
    worker = started(agent, tmp_path)
    wait_until(lambda: ticks(tmp_path) >= 20)
    assert worker.call("pid") == worker.pid
    before = worker.call("count")
    assert before >= 20
    wait_until(lambda: ticks(tmp_path) >= before + 20)
    worker.send(EndSession("nobody's"))
    assert worker.call("count") >= before + 20
    assert worker.stop().code == 0
    assert int((tmp_path / "note").read_text().removeprefix("stopped after ")) >= 40


@pytest.mark.parametrize("what", ["fork", "stop the loop", "exit", "fail"])
def test_what_a_task_does_to_the_loop_ends_neither_the_worker_nor_other_tasks(agent: LocalAgent, tmp_path: Path, what: str) -> None:
    worker = started(agent, tmp_path, what)
    wait_until(lambda: ticks(tmp_path) >= 20)
    before = worker.call("count")
    wait_until(lambda: ticks(tmp_path) >= 40)
    assert worker.call("count") > before
    assert worker.call("pid") == worker.pid
    if what == "fork":
        child = int((tmp_path / "child").read_text())
        wait_until(lambda: not is_alive(child))
    assert worker.call("count") > before
    assert worker.stop().code == 0
