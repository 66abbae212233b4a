"""`snakepit --kube logs` against a kubectl that has the lines of two pools' pods: which are asked for, and what is made of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from snakepit.cli.failures import ExitStatus
from support import fake_kubectl as fake
from support import log_lines
from support.dev_server import wait_until

from .conftest import Command

CALL = "0193f5a8c0de7bbf8f3c2a1d"


def ours(second: int, message: str, **fields: str) -> str:
    more = "".join(f',"{name}":"{value}"' for name, value in fields.items())
    return f'{{"time":"2026-11-29T20:14:{second:02}.000Z","level":"info","component":"worker"{more},"message":"{message}"}}'


STAMP = "2026-11-29T22:14:09.121374999+02:00"
LOG = [
    f"[pod/digits-1-x/worker] {STAMP} {ours(3, 'third', call=CALL, tool='classify')}",
    f"[pod/digits-1-x/worker] {STAMP} a line of the interpreter's",
    f"[pod/digits-1-x/snakepit-agent] {STAMP} {ours(1, 'first')}",
    f"[pod/digits-2-y/worker] {STAMP} {ours(2, 'second', call=CALL, tool='classify')}",
    f"[pod/tiny-1-z/worker] {STAMP} {ours(4, 'fourth', call='another', tool='say')}",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "pods").write_text("digits-1-x digits\ndigits-2-y digits\ntiny-1-z tiny\n")
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in LOG))
    fake.put_on_path(tmp_path, monkeypatch)
    yield tmp_path
    wait_until(lambda: not [pid for pid in (tmp_path / "pids").read_text().split() if Path("/proc", pid).exists()], "kubectl is gone")


@pytest.fixture
def logs(folder: Path, typed: Command) -> Command:
    return partial(typed, "--kube", "logs")


def said(folder: Path) -> list[str]:
    return (folder / "said").read_text().splitlines()


def test_lines_come_with_their_capsule_whatever_wrote_them(folder: Path, logs: Command) -> None:
    code, out, err = logs("digits", "--context", "prod", "-n", "team")
    assert (code, err) == (0, "")
    assert out.splitlines()[:4] == [
        "digits-1-x | classify: third",
        "digits-1-x | a line of the interpreter's",
        "digits-1-x | first",
        "digits-2-y | classify: second",
    ]
    listing, logging = said(folder)
    assert listing.startswith('["--context", "prod", "get", "pods", "-n", "team", "-l", "snakepit.dev/pool"')
    assert '"logs", "-n", "team", "-l", "snakepit.dev/pool=digits"' in logging
    assert '"--tail=-1"' in logging


@pytest.mark.parametrize("of", ["digits-2-y", "digits-2-y/0"])
def test_a_capsule_or_a_worker_may_be_named(folder: Path, logs: Command, of: str) -> None:
    assert logs(of)[1] == "digits-2-y | classify: second\n"
    assert '"digits-2-y"' in said(folder)[1]


def test_a_whole_name_says_the_namespace(folder: Path, logs: Command) -> None:
    assert logs("team/tiny")[0] == 0
    assert '"-n", "team", "-l", "snakepit.dev/pool=tiny"' in said(folder)[1]


def test_what_a_call_has_left_in_several_capsules_is_put_in_order(logs: Command) -> None:
    assert logs("--call", CALL)[1] == "digits-2-y | classify: second\ndigits-1-x | classify: third\n"
    assert logs("--call", CALL, "--tail", "1")[1] == "digits-1-x | classify: third\n"
    assert logs("--call", "none") == (0, "", "no line of call none is there: it said nothing, or its lines are gone\n")


def test_as_json_every_line_is_of_the_schema_and_has_its_pool(logs: Command) -> None:
    lines = log_lines.lines(logs("--tail", "5", "-o", "json", "-n", "team")[1].splitlines())
    assert [line["message"] for line in lines] == ["first", "second", "third", "fourth", "a line of the interpreter's"]
    assert [line["pool"] for line in lines] == ["team/digits"] * 3 + ["team/tiny", "team/digits"]
    assert lines[-1]["time"] == "2026-11-29T20:14:09.121Z"


def test_what_kubectl_says_of_a_container_that_it_can_not_read_is_no_line_of_the_log(folder: Path, logs: Command) -> None:
    with (folder / "log").open("a") as log:
        log.write('error: container "snakepit-agent" in pod "tiny-1-z" is waiting to start: PodInitializing\n')
    code, out, err = logs()
    assert (code, len(out.splitlines())) == (0, len(LOG))
    assert err == 'kubectl: error: container "snakepit-agent" in pod "tiny-1-z" is waiting to start: PodInitializing\n'


def test_what_is_not_there_is_said_with_what_is(folder: Path, logs: Command) -> None:
    missing = "snakepit: POOL_NOT_FOUND: namespace default has no pool with capsules, and no capsule, that is named digitz"
    assert logs("digitz") == (ExitStatus.USAGE, "", f"{missing}: did you mean digits?\n")
    (folder / "no-logs").touch()
    code, _, err = logs("digits")
    assert (code, 'kubectl can\'t read the logs: (Forbidden): pods is forbidden: User "ada" cannot get resource "pods/log"' in err) == (
        4,
        True,
    )
    (folder / "pods").write_text("".join(f"digits-{n} digits\n" for n in range(101)))
    assert "--follow takes 100 capsules at most, and here are 101" in logs("digits", "-f")[2]


def test_following_shows_what_comes_until_it_is_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "snakepit.cli", "--kube", "logs", "tiny-1-z", "--follow", "--call", "another"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "tiny-1-z | say: fourth\n"
        with (folder / "log").open("a") as log:
            log.write(f"[pod/tiny-1-z/worker] {STAMP} {ours(5, 'fifth', call='another', tool='say')}\n")
        assert following.stdout.readline() == "tiny-1-z | say: fifth\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == ExitStatus.INTERRUPTED
