"""What a zygote says, or the author's import in its place: the keeper lives on, and every worker that was asked for is born, or failed."""

from __future__ import annotations

import contextlib
import re
import tempfile

import pytest

from snakepit import SnakepitError
from snakepit._ipc.control import StartFailed
from snakepit_worker.testing import LocalAgent, LocalWorker, is_alive, wait_until
from support.lying_import import LIES

SAMPLE = "support.sample:Sample"
THREADED = "support.threaded_import:Threaded"
UNFORKABLE = 6
NO_ANSWERS = ("nobody was asked for", "no frame", "no text", "no end", "too large")


def settled(agent: LocalAgent, incarnation: str) -> LocalWorker | StartFailed:
    """What came of a request."""
    return agent.heard.wait(object, lambda frame: isinstance(frame, LocalWorker | StartFailed) and frame.incarnation == incarnation)


def test_workers_that_are_asked_for_together_and_can_not_be_forked_are_all_spawned(agent: LocalAgent) -> None:
    asked = [agent.request(THREADED, index) for index in range(UNFORKABLE)]
    born = [settled(agent, incarnation) for incarnation in asked]
    for worker in born:
        assert isinstance(worker, LocalWorker), worker
        assert worker.note.startswith("importing support.threaded_import:Threaded leaves 1 thread")
        assert worker.call("echo", {"value": 3}) == 3
    assert agent.keeper.poll() is None


@pytest.mark.parametrize("lie", LIES)
def test_no_answer_of_a_zygote_ends_the_keeper_and_what_is_none_is_told_once(lie: str) -> None:
    with tempfile.TemporaryFile() as log:
        with LocalAgent({"LIE": lie}, stderr=log) as agent:
            honest = agent.start(SAMPLE)
            asked = [agent.request("support.lying_import", index) for index in (1, 2)]
            came = [settled(agent, incarnation) for incarnation in asked]
            for each in came:
                if isinstance(each, LocalWorker):
                    assert is_alive(each.call("pid"))
                elif lie in NO_ANSWERS:
                    assert (each.stage, each.type) == ("import", "ZygoteBroken")
                    assert each.message.startswith("the process that imports support.lying_import ")
            assert honest.call("echo", {"value": 1}) == 1
            assert agent.start(SAMPLE, index=3).call("echo", {"value": 2}) == 2
            assert agent.close() == 0
        wait_until(lambda: not any(is_alive(worker.pid) for worker in agent.workers))
        log.seek(0)
        said = log.read().decode()
    assert "Traceback" not in said
    if lie in NO_ANSWERS:
        assert not any(isinstance(each, LocalWorker) for each in came)
        told = [line for line in said.splitlines() if '"warning"' in line and "lying_import" in line]
        assert 1 <= len(told) <= len(came), told  # the second may have come when its zygote had gone


@pytest.mark.parametrize("whose", ["the keeper's own", "a worker's"])
def test_the_word_of_a_zygote_makes_no_process_a_worker_twice(agent: LocalAgent, whose: str) -> None:
    honest = agent.start(SAMPLE)
    pid = honest.pid if whose == "a worker's" else agent.keeper.pid
    asked = [
        agent.request("support.lying_import", index, env={"LIE": "a process that is no child", "LIE_PID": str(pid)}) for index in (1, 2)
    ]
    came = [settled(agent, incarnation) for incarnation in asked]
    assert [each.type for each in came if isinstance(each, StartFailed)][-1:] == ["WorkerDied"], came
    assert honest.call("echo", {"value": 1}) == 1


def test_a_reason_to_fail_of_any_length_and_in_any_script_reaches_the_agent(agent: LocalAgent) -> None:
    failure = settled(agent, agent.request("support.failing_import", env={"FAIL": "\N{SNAKE}"}))
    assert isinstance(failure, StartFailed)
    assert failure.type == "RuntimeError"
    text, _, length = failure.message.partition("... ")
    assert (set(text), length) == ({"\N{SNAKE}"}, "(100000 characters)")
    assert len(text) > 5000
    assert set(failure.traceback) == {"\N{SNAKE}", "\n"}
    assert agent.start(SAMPLE).call("echo", {"value": 1}) == 1


@pytest.mark.parametrize("startup", ["fork", "spawn"])
def test_an_import_that_patches_threading_is_refused_with_what_to_do(agent: LocalAgent, startup: str) -> None:
    said = "importing support.patched lets gevent patch threading, which a worker needs as it is: leave monkey.patch_all() out; "
    with pytest.raises(SnakepitError, match=re.escape(said)) if startup == "spawn" else contextlib.nullcontext():
        worker = settled(agent, agent.request("support.patched", startup=startup))
        if isinstance(worker, StartFailed):
            assert (worker.stage, worker.type) == ("adapter", "AdapterError")
            assert worker.message.startswith(said)
        else:
            worker.ready()
