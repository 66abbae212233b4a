"""`snakepit logs`: what the workers of a running `snakepit dev` print, in another terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from snakepit import ToolError, WorkerLost
from snakepit.cli import dev_logs
from snakepit.cli.failures import ExitStatus
from snakepit.sync import Client
from support import log_lines
from support.dev_server import Dev, pool_file, ready_dev
from support.ports import free_port

from .conftest import Command


@pytest.fixture
def logs(server: Dev, typed: Command) -> Command:
    return lambda *words: typed("logs", *words, *([] if "--server" in words else ["--server", server.server]))


def say(server: Dev, pool: str, *texts: str) -> None:
    with Client(server.server) as client:
        for text in texts:
            client.pool(pool).call("say", {"text": text})
            server.says(f"say: {text}")


def test_the_lines_of_all_pools_of_one_or_of_one_capsule_are_shown(server: Dev, logs: Command) -> None:
    say(server, "sample", "one", "two")
    say(server, "tiny", "three")
    code, out, err = logs()
    assert (code, err) == (0, "")
    assert [line.partition("say: ")[2] for line in out.splitlines() if "say: " in line] == ["one", "two", "three"]
    with Client(server.server) as client:
        (worker,) = client.pool("tiny").workers()
    capsule = worker.id.partition("/")[0]
    shown = f"{capsule} | say: three\n"
    for words in (("tiny",), ("default/tiny", "--tail", "1"), (capsule,), (worker.id,)):
        assert logs(*words)[1] == shown
    assert logs("tiny", "--tail", "0")[1] == ""
    stamp, _, line = logs("tiny", "--timestamps")[1].partition(" ")
    assert line == shown
    assert stamp.endswith("Z")


def test_what_is_not_there_is_said_with_what_is(server: Dev, logs: Command) -> None:
    for words, sentence in [
        (("tinny",), "tinny is no pool of that `snakepit dev`, and no capsule: did you mean default/tiny?"),
        (("--server", f"127.0.0.1:{free_port()}"), "say which with --server"),
        (("--kube",), "give --server or --kube"),
        (("--tail", "-1"), "--tail"),
    ]:
        code, out, err = logs(*words)
        assert (code, out) == (ExitStatus.USAGE, "")
        assert sentence in err
    assert server.server in logs("--server", f"127.0.0.1:{free_port()}")[2], "where one does run"


def test_of_one_call_there_is_what_it_printed_and_raised_and_nothing_else(server: Dev, logs: Command) -> None:
    say(server, "sample", "before")
    with Client(server.server) as client:
        pool = client.pool("sample")
        with pytest.raises(ToolError) as told:
            pool.call("fail", {"message": "none left"})
        server.says("LookupError: none left")
        failed = pool.call_info(told.value.call_id)
        (worker,) = (each for each in pool.workers() if each.id == failed.worker)
    say(server, "sample", "after")
    code, out, err = logs("--call", failed.id)
    assert (code, err) == (0, "")
    capsule = worker.id.partition("/")[0]
    first, *frames = out.splitlines()
    assert first == f"{capsule} | fail: ERROR: raised LookupError: none left (call {failed.id})"
    assert (frames[0], frames[-1]) == (f"{capsule} | Traceback (most recent call last):", f"{capsule} | LookupError: none left")
    (line,) = log_lines.lines(logs("sample", "--call", failed.id, "-o", "json")[1].splitlines())
    assert (line["call"], line["pool"], line["capsule"], line["worker"]) == (failed.id, "default/sample", capsule, worker.id)
    assert logs("tiny", "--call", failed.id) == (0, "", f"no line of call {failed.id} is there: it said nothing, or its lines are gone\n")


def test_of_a_call_whose_worker_died_it_is_said_of_what(server: Dev, logs: Command) -> None:
    with Client(server.server) as client, pytest.raises(WorkerLost) as told:
        client.pool("sample").call("exit", {"code": 3})
    server.says("died during the call: exit code 3")
    code, out, _ = logs("--call", told.value.call_id)
    (line,) = [each for each in out.splitlines() if "WORKER_LOST" in each]
    assert (code, "WARNING WORKER_LOST: worker sample-" in line) == (0, True), line


def test_a_dev_that_is_stopped_is_given_up(server: Dev, logs: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_logs, "ANSWER_SECONDS", 0.2)
    server.send(signal.SIGSTOP)
    try:
        code, out, err = logs()
    finally:
        server.send(signal.SIGCONT)
    assert (code, out, "says nothing: is it stopped, or overloaded?" in err) == (ExitStatus.NEVER_STARTED, "", True)


def test_lines_as_json_are_those_of_the_schema(server: Dev, logs: Command) -> None:
    say(server, "tiny", "as json")
    (line,) = log_lines.lines(logs("tiny", "-o", "json", "--tail", "1")[1].splitlines())
    assert (line["message"], line["stream"], line["tool"], line["pool"]) == ("as json", "stdout", "say", "default/tiny")


def test_following_shows_what_comes_and_ends_with_dev(tmp_path: Path) -> None:
    with ready_dev(pool_file(tmp_path, "sample", "support.sample:Sample", replicas="1")) as server:
        command = [sys.executable, "-m", "snakepit.cli", "logs", "sample", "-f", "--server", server.server]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            say(server, "sample", "first")
            assert following.stdout.readline().endswith(" | say: first\n")
            say(server, "sample", "second")
            assert following.stdout.readline().endswith(" | say: second\n")
            server.send(signal.SIGTERM)
            assert server.wait() == 0
            assert following.stdout.read() == ""
            assert following.wait(30) == 0
