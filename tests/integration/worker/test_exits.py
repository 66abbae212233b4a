"""What ends with a worker, a zygote, a keeper or an agent: everything that it had started, wherever that has gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from snakepit import ToolError
from snakepit._ipc.control import StartFailed
from snakepit._ipc.worker import EndSession
from snakepit_worker.testing import LocalAgent, LocalWorker, is_alive, wait_until

SAMPLE = "support.sample:Sample"


def started(worker: LocalWorker) -> list[int]:
    """A child, a child in a session of its own, and a process that nothing seems to tie to the worker any more."""
    return [worker.call(tool) for tool in ("child", "daemon", "orphan")]


@pytest.mark.parametrize("startup", ["fork", "spawn"])
def test_what_a_killed_worker_started_dies_with_it_and_nothing_else_does(agent: LocalAgent, startup: str) -> None:
    doomed, other = (agent.start(SAMPLE, index, startup=startup) for index in range(2))
    left, kept = started(doomed), started(other)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.exited()
    wait_until(lambda: not any(map(is_alive, left)))
    assert all(map(is_alive, kept))


def test_what_a_worker_started_dies_with_it_also_when_it_stops_in_good_order(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    left = started(worker)
    assert worker.stop().code == 0
    wait_until(lambda: not any(map(is_alive, left)))


def test_a_reader_that_comes_late_to_its_closed_channel_does_not_spoil_a_stop_in_good_order(agent: LocalAgent) -> None:
    worker = agent.start("support.late_reader:Late")
    worker.ready()
    assert worker.stop().code == 0


def test_nothing_is_left_after_a_shutdown(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    left = started(worker)
    assert agent.close() == 0
    assert not any(map(is_alive, [worker.pid, *left]))


def test_nothing_is_left_when_the_keeper_is_killed(agent: LocalAgent) -> None:
    workers = [agent.start(SAMPLE, startup=startup) for startup in ("fork", "spawn")]
    left = [pid for worker in workers for pid in [worker.pid, *started(worker)]]
    agent.keeper.kill()
    wait_until(lambda: not any(map(is_alive, left)))


def test_nothing_is_left_when_the_agent_goes_away_and_the_next_one_is_served(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    left = started(worker)
    agent.drop()
    agent.accept()
    assert not is_alive(worker.pid)
    wait_until(lambda: not any(map(is_alive, left)))
    assert agent.start(SAMPLE).call("echo", {"value": 1}) == 1


def test_what_an_import_started_dies_with_the_process_that_imported(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with LocalAgent({"ORPHAN_NOTE": str(note)}) as agent:
        incarnation = agent.request("support.orphaning_import")
        agent.heard.wait(StartFailed, lambda frame: frame.incarnation == incarnation)
        wait_until(lambda: not is_alive(int(note.read_text())))


def test_an_orphan_that_ends_while_its_worker_lives_is_no_zombie(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    ended = [worker.call("orphan", {"seconds": 0}) for _ in range(3)]
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ended))
    assert worker.call("echo", {"value": 1}) == 1


def test_a_term_that_comes_before_the_keeper_can_take_it_is_not_lost() -> None:
    """As the container's command begins: blocked, because PID 1 never gets what it has no handler for."""
    run = "import sys; from snakepit_worker.entry import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            keeper = subprocess.Popen([sys.executable, "-c", run], env={**os.environ, "SNAKEPIT_RUN_DIR": folder})
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        keeper.terminate()
        assert keeper.wait(15) == 0


def test_the_command_holds_term_back_before_it_imports_the_keeper() -> None:
    look = """
import signal, sys, types
from snakepit_worker import entry
keeper = types.ModuleType("snakepit_worker.keeper")
keeper.main = lambda: int(not {signal.SIGTERM, signal.SIGINT} <= signal.pthread_sigmask(signal.SIG_BLOCK, ()))
sys.modules["snakepit_worker.keeper"] = sys.modules["snakepit_worker"].keeper = keeper
sys.exit(entry.main())
"""
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_a_hook_that_calls_sys_exit_ends_neither_its_worker_nor_the_hooks_behind_it(agent: LocalAgent, tmp_path: Path) -> None:
    note = tmp_path / "note"
    worker = agent.start("support.sample:Leaving", env={"TEARDOWN_NOTE": str(note)})
    with pytest.raises(ToolError, match="SystemExit: 3"):
        worker.call("echo", {"value": 1}, session_id="refused")
    worker.call("echo", {"value": 1}, session_id="served")
    worker.send(EndSession("served"))
    assert worker.call("echo", {"value": 2}) == 2
    assert worker.stop().code == 0
    assert note.read_text() == "done"
