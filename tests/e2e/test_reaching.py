"""`snakepit --kube` from outside the cluster's Services, through the real kubectl: what tests/support/fake_kubectl.py stands for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from snakepit.cli.failures import ExitStatus
from support import log_lines
from support.incluster import may_call, probe_pool
from support.kube import SYSTEM, apply, eventually, kubectl, wait_available

pytestmark = pytest.mark.timeout(240)

POOL = "reached"
READER = "reader-of-one"
SHOP = "shop"


@pytest.fixture(scope="module")
def pool(namespace: str) -> Iterator[str]:
    apply(probe_pool(POOL, "actor:Actor", replicas=1), namespace=namespace)
    wait_available(POOL, namespace=namespace)
    yield POOL
    kubectl("delete", f"sp/{POOL}", "-n", namespace, "--ignore-not-found", "--timeout=30s")


def snakepit(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakepit.cli", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


def forwards(to: str = "service/snakepit") -> list[str]:
    """The command lines of kubectl's forwards on this machine."""
    found = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    return [
        b" ".join(words).decode() for words in found if b"port-forward" in words and any(word.startswith(to.encode()) for word in words)
    ]


def test_a_call_finds_the_release_and_leaves_no_forward(namespace: str, pool: str) -> None:
    began = time.monotonic()
    done = snakepit("--kube", "-n", namespace, "call", pool, "echo", "value=through", "-o", "json")
    assert (done.returncode, done.stdout, done.stderr) == (0, '"through"\n', "")
    print(f"{time.monotonic() - began:.1f} s for the whole command")
    assert forwards() == []
    large = snakepit("--kube", "-n", namespace, "call", f"{namespace}/{pool}", "echo", '{"value": "' + "x" * 100_000 + '"}')
    assert (large.returncode, len(large.stdout)) == (0, 100_001), large.stderr


def test_every_replica_is_asked_by_a_forward_of_its_own(release: None) -> None:
    listed = snakepit("--kube", "pools")
    assert (listed.returncode, listed.stderr) == (0, ""), "nothing is to be said of replicas that were not reached"

    def are_all_heard() -> bool:
        examined = json.loads(snakepit("--kube", "doctor", "-o", "json").stdout)
        return not [each for each in examined if "replicas answered" in each["message"]]

    eventually(are_all_heard, "every replica has answered")
    assert forwards("pod/snakepit-control-plane") == []


def test_the_fake_kubectl_prints_what_the_real_one_prints(release: None) -> None:
    listed = json.loads(kubectl("get", "services", "-A", "-l", "app.kubernetes.io/part-of=snakepit", "-o", "json"))
    services: list[dict[str, Any]] = listed["items"]
    (real,) = [each for each in services if each["metadata"]["name"] == "snakepit"]
    assert real["metadata"]["labels"]["app.kubernetes.io/instance"] == "snakepit"
    assert real["spec"]["ports"][0]["name"] == "grpc"
    argv = ["kubectl", "port-forward", "-n", SYSTEM, f"service/{real['metadata']['name']}", ":7800", "--address", "127.0.0.1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stdout is not None
        assert forwarding.stdout.readline().startswith("Forwarding from 127.0.0.1:")
        forwarding.terminate()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "TERM"])
def test_connect_serves_programs_until_it_is_ended(namespace: str, pool: str, number: signal.Signals, status: int) -> None:
    command = [sys.executable, "-m", "snakepit.cli", "--kube", "-n", namespace, "connect"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as connected:
        assert connected.stdout is not None
        found = dict(pair.split("=") for pair in connected.stdout.readline().split()[1:])
        done = snakepit("call", f"{namespace}/{pool}", "echo", "value=again", **found)
        assert (done.stdout, done.stderr) == ("again\n", "")
        assert len(forwards()) == 1
        connected.send_signal(number)
        assert connected.wait(30) == status
    assert forwards() == []


def test_logs_of_a_pool_and_of_one_call_are_read_from_its_pods(namespace: str, pool: str) -> None:
    assert snakepit("--kube", "-n", namespace, "call", pool, "make", "size=-1").returncode == ExitStatus.RAISED

    def read(*words: str) -> list[dict[str, Any]]:
        done = snakepit("--kube", "-n", namespace, "logs", *words, "-o", "json")
        assert done.returncode == 0, done.stderr
        return log_lines.lines(done.stdout.splitlines())

    def raised() -> list[dict[str, Any]]:
        return [line for line in read(pool) if line.get("tool") == "make" and "exception" in line]

    eventually(raised, "what the tool raised is in the log")
    (line,) = raised()
    assert line["pool"] == f"{namespace}/{pool}"
    assert line["worker"].startswith(f"{line['capsule']}/")
    assert read("--call", line["call"]) == [line]
    assert {"agent", "keeper", "zygote", "worker"} >= {each["component"] for each in read(line["capsule"])} >= {"agent", "worker"}


def test_a_context_that_is_not_there_is_one_sentence(cluster: None) -> None:
    done = snakepit("--kube", "--context", "nowhere", "pools")
    assert done.returncode == ExitStatus.NEVER_STARTED
    assert done.stderr.startswith("snakepit: SERVER_UNAVAILABLE: kubectl can't list the cluster's Services: ")
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_account_with_rights_in_the_releases_namespace_alone_gets_through(namespace: str, pool: str, tmp_path: Path) -> None:
    kubectl("create", "serviceaccount", READER, "-n", SYSTEM)
    try:
        rights = ["--verb=get,list", "--resource=services,pods,configmaps"]
        kubectl("create", "role", READER, "-n", SYSTEM, *rights)
        for_it = ["--verb=create", "--resource=pods/portforward,serviceaccounts/token"]
        kubectl("create", "role", f"{READER}-forward", "-n", SYSTEM, *for_it)
        for role in (READER, f"{READER}-forward"):
            kubectl("create", "rolebinding", role, "-n", SYSTEM, f"--role={role}", f"--serviceaccount={SYSTEM}:{READER}")
        token = kubectl("create", "token", READER, "-n", SYSTEM).strip()
        whole = json.loads(kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        whole["users"] = [{"name": READER, "user": {"token": token}}]
        whole["contexts"][0]["context"] |= {"user": READER}
        config = tmp_path / "config"
        config.write_text(json.dumps(whole))
        words = ["--kube", "-n", SYSTEM, "--service-account", READER, "call", f"{namespace}/{pool}", "echo", "value=mine"]
        with may_call(namespace, f"{SYSTEM}:{READER}"):
            done = snakepit(*words, KUBECONFIG=str(config))
        assert (done.returncode, done.stdout, done.stderr) == (0, "mine\n", "")
        refused = snakepit("--kube", "-n", namespace, "pools", KUBECONFIG=str(config))
        assert refused.returncode == ExitStatus.NEVER_STARTED
        assert "forbidden" in refused.stderr
        assert refused.stderr.count("\n") == 1
    finally:
        for kind in ("rolebinding", "role"):
            kubectl("delete", kind, READER, f"{READER}-forward", "-n", SYSTEM, "--ignore-not-found")
        kubectl("delete", "serviceaccount", READER, "-n", SYSTEM, "--ignore-not-found")


@pytest.mark.usefixtures("beside")
def test_a_right_that_a_role_binding_gives_works_within_a_minute_and_is_gone_within_one(namespace: str) -> None:
    pool = "sells"
    apply(probe_pool(pool, "actor:Actor", replicas=1), namespace=namespace)
    wait_available(pool, namespace=namespace)
    kubectl("create", "serviceaccount", SHOP, "-n", SYSTEM)

    def answer() -> str:
        done = snakepit("--kube", "-n", SYSTEM, "--service-account", SHOP, "call", f"{namespace}/{pool}", "echo", "value=sold")
        return done.stdout or done.stderr

    try:
        refused = answer()
        assert f"PERMISSION_DENIED: 'system:serviceaccount:{SYSTEM}:{SHOP}' may not get snakepools/status" in refused, refused
        with may_call(namespace, f"{SYSTEM}:{SHOP}"):
            given = took(lambda: answer() == "sold\n", "it may call")
        taken = took(lambda: "PERMISSION_DENIED" in answer(), "it may call no more")
        print(f"given after {given:.1f} s, gone after {taken:.1f} s")
    finally:
        kubectl("delete", "serviceaccount", SHOP, "-n", SYSTEM, "--ignore-not-found")
    kubectl("delete", f"sp/{pool}", "-n", namespace, "--wait=false")


def took(look: Callable[[], bool], what: str) -> float:
    """Seconds until it was so: a minute at most, and what the last look takes."""
    began = time.monotonic()
    eventually(look, what, timeout=60)
    return time.monotonic() - began
