"""Shared memory of a worker: it goes with it, however it ends, unless its author has named it."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from snakepit_worker import scratch
from snakepit_worker.testing import LocalAgent, wait_until

SHARING, EARLY = "support.shared_memory:Sharing", "support.shared_memory_early:Sharing"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[LocalAgent]:
    with LocalAgent({"TMPDIR": str(tmp_path)}) as agent:
        yield agent


def is_there(name: str) -> bool:
    return Path("/dev/shm", name).exists()


@pytest.mark.parametrize("startup", ["fork", "spawn"])
@pytest.mark.parametrize("adapter", [SHARING, EARLY], ids=["loaded by a call", "loaded by the import"])
def test_shared_memory_of_a_killed_worker_goes_and_that_of_others_stays(agent: LocalAgent, adapter: str, startup: str) -> None:
    doomed, other = (agent.start(adapter, index, startup=startup) for index in range(2))
    left, of_a_child, kept = doomed.call("share"), doomed.call("share_by_a_child"), other.call("share")
    assert is_there(left)
    assert is_there(of_a_child)
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.exited()
    wait_until(lambda: not is_there(left) and not is_there(of_a_child))
    assert is_there(kept)
    assert agent.close() == 0
    assert not is_there(kept)


def test_shared_memory_goes_when_the_agent_kills_a_worker_with_all_that_it_has_started(agent: LocalAgent) -> None:
    worker = agent.start(SHARING)
    left = worker.call("share")
    worker.signal(signal.SIGKILL, group=True)
    worker.exited()
    wait_until(lambda: not is_there(left))


def test_shared_memory_goes_when_a_worker_ends_by_itself(agent: LocalAgent) -> None:
    worker = agent.start(SHARING)
    left = worker.call("share")
    assert worker.stop().code == 0
    wait_until(lambda: not is_there(left))


def test_shared_memory_with_a_name_of_the_authors_outlives_its_worker(agent: LocalAgent) -> None:
    worker, name = agent.start(SHARING), f"of-the-author-{secrets.token_hex(4)}"
    left = worker.call("share")
    assert worker.call("share", {"name": name}) == name
    worker.signal(signal.SIGKILL)
    worker.exited()
    wait_until(lambda: not is_there(left))
    found = SharedMemory(name)
    found.close()
    found.unlink()


def test_no_shared_memory_is_left_when_the_keeper_is_killed(agent: LocalAgent) -> None:
    left = agent.start(SHARING).call("share")
    agent.keeper.kill()
    wait_until(lambda: not is_there(left))


def test_a_keeper_removes_shared_memory_of_workers_that_one_of_before_has_left(agent: LocalAgent, tmp_path: Path) -> None:
    """As in a container that was killed as a whole."""
    kept = agent.start(SHARING).call("share")
    incarnation = secrets.token_hex(8)
    (tmp_path / f"{scratch.PREFIX}of-before" / incarnation).mkdir(parents=True)
    left = Path(f"/dev/shm/psm_{incarnation}_0")
    left.touch()
    with LocalAgent({"TMPDIR": str(tmp_path)}):
        wait_until(lambda: not left.exists())
    assert is_there(kept)
