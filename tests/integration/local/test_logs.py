"""`snakepit logs`: what the workers of a running `snakepit dev` print, in another terminal."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from snakepit.cli.app import run
from snakepit.cli.failures import ExitStatus
from snakepit.sync import Client
from support.dev_server import Dev, dev, pool_file
from support.ports import free_port

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def logs(server: Dev, capsys: pytest.CaptureFixture[str]) -> Command:
    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["logs", *words, *([] if "--server" in words else ["--server", server.server])])
        return code, *capsys.readouterr()

    return command


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
    ]:
        code, out, err = logs(*words)
        assert (code, out) == (ExitStatus.USAGE, "")
        assert sentence in err
    assert server.server in logs("--server", f"127.0.0.1:{free_port()}")[2], "where one does run"
    assert "kubectl logs -l snakepit.dev/pool=NAME" in logs_of_a_cluster()


def logs_of_a_cluster() -> str:
    done = subprocess.run([sys.executable, "-m", "snakepit.cli", "logs", "--kube"], capture_output=True, text=True, check=False)
    assert done.returncode == ExitStatus.USAGE
    return done.stderr


def test_following_shows_what_comes_and_ends_with_dev(tmp_path: Path) -> None:
    with dev(pool_file(tmp_path, "sample", "support.sample:Sample", replicas="1")) as server:
        server.is_ready()
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
