"""`snakepit --kube` against a kubectl that forwards to a local pool: what it finds, says, and leaves behind, which is nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakepit.cli.failures import ExitStatus
from snakepit.cli.reach import OF_ONE_REPLICA
from support import fake_kubectl as fake
from support.dev_server import Dev, pool_file, ready_dev, wait_until
from support.ports import free_port

from .conftest import Command


class Kubectl:
    """The folder of a fake one, which is on the PATH."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        (folder / "target").write_text(target)
        self.lists(fake.service("snakepit-system", "snakepit"), fake.service("snakepit-system", "snakepit", "agents", clusterIP="None"))

    def lists(self, *services: dict[str, Any]) -> None:
        (self.folder / "services.json").write_text(json.dumps({"items": services}))

    def does(self, deed: str) -> None:
        (self.folder / deed).touch()

    @property
    def said(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "said").read_text().splitlines()]

    @property
    def running(self) -> list[int]:
        """Those that are there."""
        pids = (self.folder / "pids").read_text().split() if (self.folder / "pids").exists() else []
        return [int(pid) for pid in pids if Path("/proc", pid).exists()]


@pytest.fixture
def kubectl(tmp_path: Path, server: Dev, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubectl]:
    made = Kubectl(tmp_path, server.server)
    fake.put_on_path(tmp_path, monkeypatch)
    yield made
    assert made.running == []


@pytest.fixture
def snakepit(typed: Command) -> Command:
    return typed


def test_a_command_reaches_the_release_and_leaves_no_kubectl(kubectl: Kubectl, snakepit: Command) -> None:
    assert snakepit("--kube", "call", "sample", "add", "a=1") == (0, "2\n", "")
    listing, forwarding = kubectl.said
    assert listing[:2] == ["get", "services"]
    assert "--all-namespaces" in listing
    assert forwarding == ["port-forward", "-n", "snakepit-system", "service/snakepit", ":7800", "--address", "127.0.0.1"]


def test_options_may_stand_after_the_command_and_the_context_goes_to_kubectl(kubectl: Kubectl, snakepit: Command) -> None:
    assert snakepit("pools", "--kube", "--context", "prod", "--release", "snakepit")[0] == 0
    assert [words[:2] for words in kubectl.said] == [["--context", "prod"]] * 3


def test_who_may_not_list_replicas_is_told_that_figures_are_of_one(kubectl: Kubectl, snakepit: Command) -> None:
    for words in (("pools",), ("top", "--once")):
        assert snakepit("--kube", *words)[2] == "", "it is the only one"
    kubectl.does("no-pods")
    for words in (("pools",), ("top", "--once")):
        code, out, err = snakepit("--kube", *words)
        assert (code, OF_ONE_REPLICA in out) == (0, False)
        assert err.startswith(f"{OF_ONE_REPLICA}: kubectl can't list the others: (Forbidden): pods is forbidden")
        programs = [snakepit("--kube", *words, "-o", output)[1:] for output in ("json", "yaml")]
        for (out, err), read in zip(programs, (json.loads, yaml.safe_load), strict=True):
            assert OF_ONE_REPLICA not in str(read(out))
            assert read(err)["warning"]["message"].startswith(OF_ONE_REPLICA)
        assert snakepit(*words, "--server", (kubectl.folder / "target").read_text())[2] == ""


def test_a_named_server_may_be_a_release(kubectl: Kubectl, snakepit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "snakepit").mkdir()
    (tmp_path / "snakepit/config.toml").write_text('[servers.prod]\nkube = {context = "prod"}\nnamespace = "default"\n')
    assert snakepit("call", "sample", "add", "a=1", "--server", "prod")[:2] == (0, "2\n")
    assert kubectl.said[0][:2] == ["--context", "prod"]


def test_a_release_that_asks_for_tokens_gets_one_of_the_service_account_that_is_named_and_none_is_left(
    kubectl: Kubectl, snakepit: Command
) -> None:
    kubectl.lists(fake.service("snakepit-system", "snakepit", audience="snakepit.snakepit-system"))
    assert snakepit("--kube", "-n", "default", "--service-account", "robot", "call", "sample", "add", "a=1") == (0, "2\n", "")
    made = kubectl.said[1]
    assert made == ["create", "token", "robot", "-n", "default", "--audience", "snakepit.snakepit-system", "--duration", "3600s"]
    with started("--kube", "connect") as connected:
        assert connected.stdout is not None
        found = dict(pair.split("=") for pair in connected.stdout.readline().split()[1:])
        token = Path(found["SNAKEPIT_TOKEN_FILE"])
        assert token.read_text() == "a.fresh.token"
        assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
        connected.send_signal(signal.SIGINT)
        connected.wait(30)
    assert not token.exists()
    kubectl.does("no-token")
    code, _, said = snakepit("--kube", "-n", "shop", "--service-account", "robot", "call", "sample", "add", "a=1")
    assert code == ExitStatus.NEVER_STARTED
    assert "can't make a token of the service account shop/robot" in said
    assert 'serviceaccounts "robot" not found' in said


def test_a_token_of_ones_own_is_taken(kubectl: Kubectl, snakepit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl.lists(fake.service("snakepit-system", "snakepit", audience="snakepit.snakepit-system"))
    (tmp_path / "own").write_text("own")
    monkeypatch.setenv("SNAKEPIT_TOKEN_FILE", str(tmp_path / "own"))
    assert snakepit("--kube", "call", "sample", "add", "a=1")[:2] == (0, "2\n")
    assert not any(words[0] == "create" for words in kubectl.said)


def test_links_through_a_forward_try_no_lane(kubectl: Kubectl) -> None:
    """A lane would be tried at the replica's own address: in a cluster that is half a second for nothing."""
    metrics = f"127.0.0.1:{free_port()}"
    with ready_dev(pool_file(kubectl.folder, "sample", "support.sample:Sample", replicas="1"), "--metrics", metrics) as alone:
        (kubectl.folder / "target").write_text(alone.server)
        words = ("call", "sample", "count", "to=100000000", "--stream")
        assert links(metrics, *words, "--kube") == {"stream"}
        direct = ("--server", alone.server)
        wait_until(lambda: links(metrics, *words, *direct) == {"lane"}, "a lane is reached in half a second, if not at once")


def links(address: str, *words: str) -> set[str]:
    """The ways of clients' links while such a call runs."""
    with started(*words) as calling:
        assert calling.stdout is not None
        assert calling.stdout.readline() == "0\n"
        metrics = urllib.request.urlopen(f"http://{address}/metrics", timeout=10).read().decode()
        calling.terminate()
        calling.stdout.read()
    found = re.findall(r'snakepit_links{role="client",way="(\w+)"} (\d+)', metrics)
    return {way for way, count in found if int(count)}


def test_a_failure_of_the_command_leaves_no_kubectl_either(kubectl: Kubectl, snakepit: Command) -> None:
    assert snakepit("--kube", "call", "sample", "fail", "message=gone")[0] == ExitStatus.RAISED


def test_an_account_that_may_not_list_all_namespaces_looks_into_its_own(kubectl: Kubectl, snakepit: Command) -> None:
    kubectl.does("forbidden")
    assert snakepit("--kube", "-n", "default", "call", "sample", "add", "a=1")[:2] == (0, "2\n")
    assert kubectl.said[1][-2:] == ["-n", "default"]


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        (
            "login",
            "snakepit: SERVER_UNAVAILABLE: kubectl can't list the cluster's Services: You must be logged in to the server (Unauthorized)\n",
        ),
        (
            "refuses",
            "snakepit: SERVER_UNAVAILABLE: kubectl can't forward a port to snakepit-system/snakepit: "
            "unable to forward port because pod is not running. Current status=Pending\n",
        ),
    ],
    ids=["no login", "no pod"],
)
def test_what_kubectl_can_not_do_is_one_sentence_with_its_own_words(kubectl: Kubectl, snakepit: Command, deed: str, sentence: str) -> None:
    kubectl.does(deed)
    assert snakepit("--kube", "pools") == (ExitStatus.NEVER_STARTED, "", sentence)


def test_a_forward_that_dies_is_in_the_sentence(kubectl: Kubectl, snakepit: Command) -> None:
    kubectl.does("dies")
    code, _, err = snakepit("--kube", "pools")
    assert code == ExitStatus.NEVER_STARTED
    assert "(kubectl's port-forward has ended: lost connection to pod)" in err
    assert err.count("\n") == 1


def test_without_kubectl_or_a_release_or_with_several_the_sentence_says_what_to_do(
    kubectl: Kubectl, snakepit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl.lists(fake.service("a", "one"), fake.service("b", "two"))
    code, _, err = snakepit("--kube", "pools")
    assert (code, "there are several releases, a/one, b/two: say which with --release" in err) == (ExitStatus.USAGE, True)
    kubectl.lists()
    code, _, err = snakepit("--kube", "pools")
    assert (code, "no release of Snakepit was found in kubectl's current context" in err) == (ExitStatus.NEVER_STARTED, True)
    (kubectl.folder / "services.json").write_text("[]")
    assert "kubectl's list of Services can't be read" in snakepit("--kube", "pools")[2]
    monkeypatch.setenv("PATH", str(kubectl.folder / "nowhere"))
    code, _, err = snakepit("--kube", "pools")
    assert (code, "there is no kubectl on the PATH, which --kube needs" in err) == (ExitStatus.NEVER_STARTED, True)


def test_connect_needs_a_cluster(kubectl: Kubectl, snakepit: Command) -> None:
    code, _, err = snakepit("connect")
    assert (code, "connect forwards a port to a cluster: give --kube" in err) == (ExitStatus.USAGE, True)


def started(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "snakepit.cli", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_as_in_a_terminal,
    )


def _as_in_a_terminal() -> None:
    """Under nohup a hang-up is ignored, which the command leaves as it is."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["Ctrl-C", "TERM", "HUP"]
)
def test_connect_stays_says_what_to_set_and_ends_with_its_kubectl(kubectl: Kubectl, number: signal.Signals, status: int) -> None:
    with started("--kube", "connect") as connected:
        assert connected.stdout is not None
        export, *pairs = connected.stdout.readline().split()
        assert export == "export"
        found = dict(pair.split("=") for pair in pairs)
        assert found.keys() == {"SNAKEPIT_SERVER", "SNAKEPIT_LANES"}
        program = "import snakepit.sync as s\nwith s.Client() as c: print(c.pool('sample').call('add', {'a': 1}))"
        called = subprocess.run([sys.executable, "-c", program], env={**os.environ, **found}, capture_output=True, text=True, check=True)
        assert called.stdout == "2\n"
        assert len(kubectl.running) == 1
        connected.send_signal(number)
        assert connected.wait(30) == status
        assert connected.stderr is not None
        assert connected.stderr.read().count("\n") == 1
    wait_until(lambda: not kubectl.running, "kubectl is gone")


def test_connect_ends_with_a_sentence_when_its_forward_does(kubectl: Kubectl) -> None:
    with started("--kube", "connect", "--port", "0") as connected:
        assert connected.stdout is not None
        assert connected.stdout.readline().startswith("export ")
        (pid,) = kubectl.running
        os.kill(pid, signal.SIGKILL)
        assert connected.wait(30) == ExitStatus.NEVER_STARTED
        assert connected.stderr is not None
        assert connected.stderr.read().endswith("snakepit: SERVER_UNAVAILABLE: kubectl's port-forward has ended: status -9\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_a_call_that_is_interrupted_leaves_no_kubectl(kubectl: Kubectl, number: signal.Signals, status: int) -> None:
    with started("--kube", "call", "sample", "steps", "steps=1", "--progress") as calling:
        assert calling.wait(60) == 0
    with started("--kube", "call", "sample", "count", "to=100000000", "--stream") as calling:
        assert calling.stdout is not None
        assert calling.stdout.readline() == "0\n"
        calling.send_signal(number)
        calling.stdout.read()
        assert calling.wait(60) == status
    wait_until(lambda: not kubectl.running, "kubectl is gone")


def test_a_login_that_asks_is_shown_and_waited_for(kubectl: Kubectl) -> None:
    kubectl.does("asks")
    with started("--kube", "call", "sample", "add", "a=1") as calling:
        assert calling.stderr is not None
        assert calling.stdout is not None
        assert calling.stderr.readline() == "To sign in, open https://login.example and enter ABCD\n"
        (kubectl.folder / "asks").unlink()
        assert calling.stdout.read() == "2\n"
        assert calling.wait(60) == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_a_login_that_nobody_answers_can_be_left(kubectl: Kubectl, number: signal.Signals, status: int) -> None:
    kubectl.does("asks")
    with started("--kube", "pools") as calling:
        assert calling.stderr is not None
        assert calling.stderr.readline() == "To sign in, open https://login.example and enter ABCD\n"
        calling.send_signal(number)
        assert calling.wait(30) == status
    wait_until(lambda: not kubectl.running, "kubectl is gone")


def test_what_is_piped_to_a_command_is_not_kubectls(kubectl: Kubectl) -> None:
    command = [sys.executable, "-m", "snakepit.cli", "--kube", "call", "sample", "add", "-"]
    done = subprocess.run(command, input='{"a": 5}', capture_output=True, text=True, check=True)
    assert done.stdout == "6\n"
