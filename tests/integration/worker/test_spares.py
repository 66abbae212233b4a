"""The process that is forked ahead of the next worker: it is that worker when one is asked for, and nothing before."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from snakepit._ipc.control import StartWorker
from snakepit._ipc.sockets import packet_pair, recv_packet
from snakepit_worker.collector import Sink
from snakepit_worker.starting import Forked, Launch, decode_reply, request
from snakepit_worker.testing import LocalAgent, is_alive, wait_until
from support.families import descendants, started_with

SAMPLE = "support.sample:Sample"


def spares(agent: LocalAgent) -> list[int]:
    workers = [worker.pid for worker in agent.workers]
    return [pid for pid, name in descendants(agent.keeper.pid).items() if name == "snakepit-spare" and pid not in workers]


def spare(agent: LocalAgent) -> int:
    """The one that there is, soon."""
    (pid,) = wait_until(lambda: spares(agent))
    return pid


def zygote_of(agent: LocalAgent, *others: int) -> int:
    return next(pid for pid in descendants(agent.keeper.pid) if pid not in others and _runs_a_zygote(pid))


def _runs_a_zygote(pid: int) -> bool:
    return b"snakepit_worker.zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_next_worker_is_the_spare_and_another_is_forked_ahead(agent: LocalAgent) -> None:
    first = agent.start(SAMPLE)
    ahead = spare(agent)
    second = agent.start(SAMPLE, index=1, name="pool-abc/1")
    assert second.pid == ahead != first.pid
    assert second.call("process") == [ahead, agent.keeper.pid, ahead]
    assert second.call("name") == "pool-abc/1"
    assert spare(agent) != ahead


def test_a_spare_has_run_nothing_of_the_authors_beyond_the_import_not_even_at_its_end(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with LocalAgent({"SPARED_NOTE": str(note)}) as agent:
        worker = agent.start("support.spared:Spared")
        worker.ready()
        ahead = spare(agent)
        zygote = zygote_of(agent, worker.pid, ahead)
        os.kill(zygote, signal.SIGKILL)
        wait_until(lambda: not is_alive(ahead))
        assert note.read_text().split("\n")[:-1] == [f"import {zygote}", f"make {worker.pid}", f"setup {worker.pid}"]


def test_a_spare_that_is_killed_is_replaced_and_nobody_is_told(agent: LocalAgent) -> None:
    agent.start(SAMPLE).ready()
    killed = spare(agent)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{killed}").exists())
    worker = agent.start(SAMPLE, index=1)
    assert worker.call("echo", {"value": 1}) == 1
    assert spare(agent) not in (killed, worker.pid)


def test_workers_that_were_spares_share_no_random_numbers(tmp_path: Path) -> None:
    with LocalAgent({"SPARED_NOTE": str(tmp_path / "note")}) as agent:
        drawn = [number for index in range(4) for number in agent.start("support.spared:Spared", index).call("draw")]
    assert len(set(drawn)) == 16


@contextlib.contextmanager
def zygote_without_a_keeper(note: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket, Launch, Forked]]:
    """Nobody here does what a keeper does: it kills what a zygote leaves. The worker that was born waits for its go-ahead."""
    ours, theirs = packet_pair()
    command = [sys.executable, "-m", "snakepit_worker.zygote", str(theirs.fileno()), str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SPARED_NOTE": str(note)}
    launch = Launch(StartWorker(0, "one", "support.spared:Spared"), Sink(os.open(os.devnull, os.O_WRONLY), os.memfd_create("note")))
    with ours, subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()]) as zygote:
        theirs.close()
        request(ours, launch)
        answer = recv_packet(ours)
        assert answer is not None
        born = decode_reply(answer.data)
        assert isinstance(born, Forked)
        yield zygote, ours, launch, born
    wait_until(lambda: not started_with(f"SPARED_NOTE={note}"))


def test_a_spare_ends_by_itself_when_its_zygote_has_ended(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with zygote_without_a_keeper(note) as (zygote, _, launch, born):
        others = (zygote.pid, born.pid)
        (ahead,) = wait_until(
            lambda: [each for each in started_with(f"SPARED_NOTE={note}") if each not in others and name_of(each) == "snakepit-spare"]
        )
        launch.abandon()
        zygote.kill()
    wait_until(lambda: not is_alive(ahead))
    assert f"exit {ahead}\n" not in note.read_text()


def test_when_a_keeper_goes_neither_a_worker_without_its_go_ahead_nor_the_zygote_runs_anything_of_the_authors(tmp_path: Path) -> None:
    """Where it can be seen: the death of a real keeper kills them, but may come later than the end of its channels."""
    note = tmp_path / "note"
    with zygote_without_a_keeper(note) as (zygote, keeper, launch, born):
        launch.abandon()
        wait_until(lambda: not is_alive(born.pid))
        keeper.close()
        assert zygote.wait(20) == 0
    assert note.read_text() == f"import {zygote.pid}\n"


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def test_a_spare_ends_with_its_zygote(agent: LocalAgent) -> None:
    worker = agent.start(SAMPLE)
    ahead = spare(agent)
    os.kill(zygote_of(agent, worker.pid, ahead), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{ahead}").exists())
    assert worker.call("echo", {"value": 1}) == 1
    assert agent.start(SAMPLE, index=1).call("echo", {"value": 2}) == 2


def test_code_that_has_changed_is_not_served_by_a_spare_of_the_old(tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    code = "from snakepit import tool\n@tool\ndef version() -> int:\n    return {}\n"
    module.write_text(code.format(1))
    with LocalAgent({"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "PYTHONDONTWRITEBYTECODE": "1"}) as agent:
        agent.start("changing").ready()
        old = spare(agent)
        module.write_text(code.format(2))
        agent.keeper.send_signal(signal.SIGHUP)
        wait_until(lambda: not is_alive(old))
        assert agent.start("changing", index=1).call("version") == 2


@pytest.mark.parametrize("end", ["shutdown", "the keeper is killed", "the agent goes away"])
def test_no_spare_is_left_when_its_keeper_or_agent_ends(agent: LocalAgent, end: str) -> None:
    agent.start(SAMPLE).ready()
    ahead = spare(agent)
    if end == "shutdown":
        assert agent.close() == 0
        assert not is_alive(ahead)
    elif end == "the keeper is killed":
        agent.keeper.kill()
    else:
        agent.drop()
        agent.accept()
    wait_until(lambda: not is_alive(ahead))


@pytest.mark.parametrize("asked", [{"adapter": SAMPLE, "startup": "spawn"}, {"adapter": "support.threaded_import:Threaded"}])
def test_where_workers_are_fresh_interpreters_there_is_no_spare(agent: LocalAgent, asked: dict[str, str]) -> None:
    workers = [agent.start(index=index, **asked) for index in range(2)]
    for worker in workers:
        worker.ready()
    assert not spares(agent)
