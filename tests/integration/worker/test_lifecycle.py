"""The life and death of worker processes under a real keeper."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import sys
from pathlib import Path

import pytest

from snakepit import SnakepitError
from snakepit._ipc.control import KeeperHello, KeeperTerminating, Shutdown, SignalWorker, StartFailed, WorkerExited
from snakepit._ipc.sockets import take_back_call
from snakepit._ipc.worker import Begin, CancelCall, Done, Failed, Ready
from snakepit_worker.testing import LocalAgent, outcome, wait_until
from support.families import descendants

SAMPLE = "support.sample:Sample"
TOGETHER = "support.sample:Together"


def test_a_worker_is_ready_after_setup_and_is_the_keepers_own_child(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    assert worker.ready().setup_seconds >= 0
    pid, parent, session = worker.call("process")
    assert (pid, parent, session) == (worker.pid, agent.keeper.pid, worker.pid)


def test_the_keeper_says_who_it_is() -> None:
    with LocalAgent() as agent:
        hello = agent.heard.wait(KeeperHello)
        assert hello.pid == agent.keeper.pid
        assert hello.python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
        assert agent.close() == 0


@pytest.mark.parametrize("startup", ["fork", "spawn"])
def test_stop_runs_teardown_and_exits_0(agent: LocalAgent, startup: str, tmp_path: Path) -> None:
    note = tmp_path / "note"
    worker = agent.start(SAMPLE, startup=startup, env={"TEARDOWN_NOTE": str(note)})
    worker.ready()
    exited = worker.stop()
    assert (exited.code, exited.signal) == (0, 0)
    assert note.read_text() == "done"


@pytest.mark.parametrize("startup", ["fork", "spawn"])
@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("support.broken_import:X", "import: RuntimeError: this module is broken"),
        ("support.nowhere:X", "adapter: AdapterError: no module is named 'support.nowhere': in "),
        ("support.sample:Smaple", "adapter: AdapterError: module 'support.sample' has no 'Smaple'"),
        ("support.sample:NotAnAdapter", "adapter: AdapterError: support.sample:NotAnAdapter is not an Adapter"),
        ("support.sample:", "adapter: AdapterError: worker.adapter 'support.sample:' must be package.module:Class or package.module"),
        ("support.sample:NoTools", "adapter: AdapterError: adapter NoTools has no tools"),
        ("support.sample:BadSignature", "adapter: AdapterError: tool 'many': parameter '*values' can't be offered"),
        ("support.sample:BadSetup", "setup: RuntimeError: no model here"),
    ],
    ids=["broken module", "no module", "no class", "not an adapter", "half a path", "no tools", "bad signature", "setup raises"],
)
def test_an_adapter_that_can_not_serve_says_why(agent: LocalAgent, adapter: str, sentence: str, startup: str) -> None:
    with pytest.raises(SnakepitError) as caught:
        agent.start(adapter, startup=startup).ready()
    assert caught.value.message.startswith(sentence)


def test_a_worker_whose_setup_failed_exits_with_code_1(agent: LocalAgent) -> None:
    worker = agent.start("support.sample:BadSetup")
    assert worker.exited().code == 1
    assert "no model here" in worker.heard.wait(Failed).traceback


def test_a_module_that_was_repaired_is_imported_anew(tmp_path: Path) -> None:
    module = tmp_path / "repaired.py"
    module.write_text("raise RuntimeError('broken')")
    good = "from snakepit import tool\n@tool\ndef echo(value: int) -> int:\n    return value\n"
    with LocalAgent({"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}) as agent:
        with pytest.raises(SnakepitError, match="broken"):
            agent.start("repaired")
        module.write_text(good)
        assert agent.start("repaired").call("echo", {"value": 1}) == 1


def test_a_setup_that_never_returns_can_be_killed(agent: LocalAgent) -> None:
    worker = agent.start("support.sample:EndlessSetup")
    worker.signal(signal.SIGKILL)
    assert worker.exited().signal == signal.SIGKILL
    assert not worker.heard.all(Ready)


def test_an_import_that_never_returns_can_be_killed(agent: LocalAgent) -> None:
    incarnation = agent.request("support.endless_import")
    agent.send(SignalWorker(incarnation, signal.SIGKILL))
    failed = agent.heard.wait(StartFailed, lambda frame: frame.incarnation == incarnation)
    assert (failed.stage, failed.message) == ("import", "the process that imports support.endless_import was killed by signal 9")
    assert agent.start(SAMPLE).ready()


def test_an_adapter_that_starts_threads_at_import_gets_fresh_interpreters(agent: LocalAgent) -> None:
    worker = agent.start("support.threaded_import:Threaded")
    worker.ready()
    assert worker.call("echo", {"value": 3}) == 3
    assert "importing support.threaded_import:Threaded leaves 1 thread (Thread-1 (sleep)), which a fork would break" in worker.note


def test_an_adapter_that_connects_at_import_gets_fresh_interpreters_and_is_told_what_to_do(agent: LocalAgent) -> None:
    workers = [agent.start("support.forkless:Connected", index=index, env={"LEAVE_A_THREAD": "1"}) for index in range(3)]
    assert len({worker.call("pid") for worker in workers}) == 3
    for worker in workers:
        assert re.fullmatch(
            r"importing support\.forkless:Connected leaves 1 thread \(refresher\) and 1 open socket \(127\.0\.0\.1:9\), "
            r"which a fork would break, "
            r"so each worker is a fresh interpreter, slower to start and with all memory of its own: "
            r"do that in setup\(\) instead, or set worker\.startup: spawn",
            worker.note,
        )


def test_a_zygote_that_can_not_be_forked_does_not_stay(agent: LocalAgent) -> None:
    worker = agent.start("support.forkless:Connected")
    worker.ready()
    wait_until(lambda: not _zygotes(agent.keeper.pid))
    assert worker.call("pid") == worker.pid


def _zygotes(keeper: int) -> list[int]:
    return [pid for pid in descendants(keeper) if b"snakepit_worker.zygote" in _command(pid)]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):  # It has ended meanwhile.
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


@pytest.mark.parametrize("startup", ["fork", "spawn"])
def test_numeric_threads_are_as_the_agent_says_unless_the_author_has_set_them(startup: str) -> None:
    with LocalAgent() as agent:
        assert agent.start(SAMPLE, startup=startup, env={"OMP_NUM_THREADS": "1"}).call("variable", {"name": "OMP_NUM_THREADS"}) == "1"
    with LocalAgent({"OMP_NUM_THREADS": "3"}) as agent:
        assert agent.start(SAMPLE, startup=startup, env={"OMP_NUM_THREADS": "1"}).call("variable", {"name": "OMP_NUM_THREADS"}) == "3"


def test_blas_has_the_threads_that_the_agent_says_so_that_an_adapter_with_numpy_can_be_forked() -> None:
    ours = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    with LocalAgent({name: value for name, value in os.environ.items() if name not in ours}) as agent:
        one = agent.start("support.numeric:Numeric", env={"OMP_NUM_THREADS": "1"})
        assert (one.call("foreign_threads"), one.note) == (0, "")
        two = agent.start("support.numeric:Numeric", 1, env={"OMP_NUM_THREADS": "2"})
        assert two.call("foreign_threads") == min(2, len(os.sched_getaffinity(0))) - 1
        assert "not Python's: of BLAS or OpenMP, OMP_NUM_THREADS=1 prevents them" in two.note


def test_a_forked_worker_collects_its_own_garbage_and_not_what_the_import_made(agent: LocalAgent) -> None:
    enabled, frozen = agent.start(SAMPLE).call("collector")
    assert enabled
    assert frozen > 1000


def test_a_worker_says_which_python_it_runs(agent: LocalAgent) -> None:
    assert agent.start(SAMPLE).ready().python.startswith(platform.python_version())


def test_the_keeper_says_how_many_cpus_its_container_has(agent: LocalAgent) -> None:
    assert 0 < agent.heard.wait(KeeperHello).cpus <= len(os.sched_getaffinity(0))


def test_a_bare_module_offers_its_own_functions(agent: LocalAgent) -> None:
    assert [tool.name for tool in agent.start("support.sample").ready().tools] == ["alone"]


def test_many_workers_are_forked_from_one_zygote(agent: LocalAgent) -> None:
    workers = [agent.start(SAMPLE, index=index) for index in range(8)]
    assert len({worker.call("process")[0] for worker in workers}) == 8
    assert {worker.call("sockets") for worker in workers} == {2}


def test_killed_calls_that_were_not_read_can_be_recalled_and_the_read_one_can_not(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    started = worker.begin("sleep", {"seconds": 60})
    waiting = [worker.begin("echo", {"value": n}) for n in range(5)]
    worker.heard.wait(Begin, lambda frame: frame.id == started)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.exited().signal == signal.SIGKILL
    recalled = []
    while (taken := take_back_call(worker.inbox_reader)) is not None:
        recalled.append(taken[0].id)
    assert recalled == waiting
    assert not worker.heard.all(Done)


def test_an_exit_code_is_reported(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    worker.begin("exit", {"code": 7})
    exited = worker.exited()
    assert (exited.code, exited.signal) == (7, 0)


def test_a_replacement_has_another_process_and_goes_on(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    worker.signal(signal.SIGKILL)
    worker.exited()
    successor = agent.start(SAMPLE)
    assert successor.call("process")[0] != worker.pid


def test_term_is_told_to_the_agent_and_forwarded_to_nobody(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    running = worker.begin("sleep", {"seconds": 0.2})
    agent.keeper.terminate()
    agent.heard.wait(KeeperTerminating)
    assert worker.done(running).failure is None
    agent.send(Shutdown())
    assert agent.keeper.wait(10) == 0


def test_term_ends_a_keeper_whose_agent_has_gone(agent: LocalAgent) -> None:
    agent.start(SAMPLE).ready()
    agent.keeper.terminate()
    agent.heard.wait(KeeperTerminating)
    agent.drop()
    assert agent.keeper.wait(10) == 0


def test_an_agent_of_another_protocol_is_refused_and_asked_again() -> None:
    with LocalAgent(protocol=99) as agent:
        agent.heard.wait(KeeperHello)
        wait_until(lambda: agent.heard.ended)
        agent.protocol = 1
        agent.accept()
        assert agent.start(SAMPLE).ready()


def test_a_forked_child_of_a_tool_holds_none_of_our_sockets(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    assert worker.call("sockets") == 2
    assert worker.call("sockets_of_a_forked_child") == 0


def test_the_process_is_named_after_its_worker(agent: LocalAgent) -> None:
    assert agent.start(SAMPLE, index=3, name="digits-abcde-x/3").call("name") == "igits-abcde-x/3"
    assert agent.start(SAMPLE, index=4, startup="spawn").call("name") == "worker/4"


def test_stdin_is_empty(agent: LocalAgent) -> None:
    assert agent.start(SAMPLE).call("stdin") == ""


def test_calls_of_the_thread_profile_run_at_the_same_time(agent: LocalAgent) -> None:
    worker = agent.start(TOGETHER, profile="thread", slots=4)
    meeting = [worker.begin("meet", {"parties": 4}) for _ in range(4)]
    assert sorted(outcome(worker.done(id)) for id in meeting) == [0, 1, 2, 3]


def test_the_thread_profile_reads_no_more_calls_than_it_has_slots(agent: LocalAgent) -> None:
    worker = agent.start(TOGETHER, profile="thread", slots=2)
    running = [worker.begin("spin") for _ in range(2)]
    for id in running:
        worker.heard.wait(Begin, lambda frame, id=id: frame.id == id)
    waiting = worker.begin("count")
    taken = take_back_call(worker.inbox_reader)
    assert taken is not None
    assert taken[0].id == waiting
    for id in running:
        worker.send(CancelCall(id, "CANCELLED"))
        failure = worker.done(id).failure
        assert failure is not None
        assert failure.reason == "CANCELLED"


def test_the_thread_profile_runs_async_tools_streams_and_stops(agent: LocalAgent) -> None:
    worker = agent.start(TOGETHER, profile="thread", slots=2)
    assert worker.call("meet_later") == "snakepit-async"
    assert list(worker.stream("count")) == list(range(100))
    assert worker.stop() == WorkerExited(0, worker.incarnation)


def test_an_adapter_not_marked_thread_safe_is_refused_with_a_sentence(agent: LocalAgent) -> None:
    with pytest.raises(SnakepitError, match=r"is not marked thread-safe, and worker\.profile is thread: set thread_safe = True"):
        agent.start(SAMPLE, profile="thread", slots=2).ready()
