"""What an interrupt reaches, in both profiles; and that it reaches nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from snakepit._ipc.worker import CancelCall, ChunkFrame, Done, ProgressFrame
from snakepit_worker.testing import LocalAgent, LocalWorker, is_alive, wait_until
from support.waiting import WAITS


@pytest.fixture(scope="module", params=["process", "thread"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def worker(profile: str) -> Iterator[LocalWorker]:
    with LocalAgent() as agent:
        yield agent.start("support.waiting:Waiting", profile=profile, slots=4 if profile == "thread" else 1)
    wait_until(lambda: not any(is_alive(each.pid) for each in agent.workers))


def begun(worker: LocalWorker, tool: str, arguments: dict[str, object] | None = None, **fields: object) -> int:
    id_ = worker.begin(tool, arguments or {}, **fields)
    worker.heard.wait(ProgressFrame, lambda frame: frame.id == id_)
    return id_


def interrupted(worker: LocalWorker, id_: int, reason: str = "DEADLINE") -> None:
    worker.send(CancelCall(id_, reason))
    failure = worker.done(id_).failure
    assert failure is not None
    assert (failure.reason, failure.started) == (reason, 3)


IN_PYTHON = "a loop of Python"
"""Where something waits in C, the interpreter can't raise in a thread."""


@pytest.mark.parametrize(("profile", "how"), [*(("process", how) for how in WAITS), ("thread", IN_PYTHON)], indirect=["profile"])
def test_an_interrupt_is_raised_in_the_running_frame_whatever_it_waits_for(worker: LocalWorker, how: str) -> None:
    interrupted(worker, begun(worker, "wait", {"how": how}))
    assert worker.call("noted")[-1] == how


def test_an_async_tool_is_cancelled(worker: LocalWorker) -> None:
    interrupted(worker, begun(worker, "waits_later"))
    assert worker.call("noted")[-1] == "later"


def test_a_tool_that_was_interrupted_may_still_use_its_context(worker: LocalWorker) -> None:
    interrupted(worker, begun(worker, "cleans_up", session_id="s"))
    assert worker.call("noted")[-1] == "cleaned"


@pytest.mark.parametrize("tool", ["swallows", "translates"])
def test_what_a_library_makes_of_an_interrupt_is_no_outcome(worker: LocalWorker, tool: str) -> None:
    interrupted(worker, begun(worker, tool))
    assert worker.call("echo", {"value": 1}) == 1


@pytest.mark.parametrize("tool", ["trickle", "pour", "trickle_later", "pour_later"])
def test_a_cancelled_stream_closes_its_generator(worker: LocalWorker, tool: str) -> None:
    id_ = worker.begin(tool, stream=True)
    worker.heard.wait(ChunkFrame, lambda frame: frame.id == id_)
    interrupted(worker, id_, "CANCELLED")
    assert worker.call("noted")[-1] == tool


def test_an_interrupt_breaks_no_message_and_touches_no_other_call(worker: LocalWorker) -> None:
    for _ in range(50):
        id_ = begun(worker, "talk")
        interrupted(worker, id_)
        assert worker.call("echo", {"value": id_}) == id_


@pytest.mark.parametrize("profile", ["thread"], indirect=True)
def test_of_two_calls_in_threads_only_the_one_that_is_meant_is_interrupted(worker: LocalWorker) -> None:
    first, second = begun(worker, "talk"), begun(worker, "talk")
    interrupted(worker, first)
    assert not any(each.id == second for each in worker.heard.all(Done))
    interrupted(worker, second)
