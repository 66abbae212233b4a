"""docs/operations.md's commands, heading after heading, typed by somebody who has one pool, from the installation to its end.

The page's other commands: three servers in test_failover.py, the metrics API's in test_hpa.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kube import HERMETIC, ROOT, SYSTEM, apply, eventually, get, is_ready, kubectl, pods_of, run
from support.pages import Shell, blocks, checkout_in

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not HERMETIC, reason="the page's pool has the image that hack/cluster has built"),
]

SESSION = "default/digits kept"


@pytest.fixture(scope="module")
def shell(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("operations")
    checkout = checkout_in(folder)
    shutil.copy(ROOT / "examples/digits/pool.yaml", checkout)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shell = Shell(checkout, folder / "state", {}, PATH=path)
    yield shell
    shell.run("\n".join(typed("Uninstall")), check=False)


def typed(heading: str, page: str = "docs/operations.md") -> list[str]:
    """Block after block."""
    found = [block.text for block in blocks(page, "sh", heading)]
    assert found, heading
    return found


def digits() -> list[str]:
    """The uids of its pods, when as many are ready as it wants, and none else is there."""
    pods = get("pods", namespace="default", selector="snakepit.dev/pool=digits")
    assert len(pods) == get("sp", "digits", namespace="default")["spec"]["replicas"]
    assert all(is_ready(pod) for pod in pods)
    return [pod["metadata"]["uid"] for pod in pods]


def test_install(shell: Shell) -> None:
    (install,) = typed("Install")
    done = shell.run(install)
    assert "Hello Helm, this is Snakepit." in done.stdout + done.stderr
    left = ("sp/snakepit-test", "configmap/snakepit-test", "pod/snakepit-test")
    assert [kubectl("get", each, "-n", SYSTEM, "--ignore-not-found", "-o", "name") for each in left] == [""] * len(left)
    eventually(lambda: not pods_of("snakepit-test", namespace=SYSTEM), "its capsule is gone")


def test_make_a_pool_and_size_it(shell: Shell) -> None:
    (pools,) = typed("Pools")
    assert "Available" in shell.run(pools).stdout
    shell.run("snakepit --kube call default/digits tally digit=7 --session kept")
    (size,) = typed("Size a pool")
    eventually(lambda: re.search(r"^\d+: .+", shell.run(size).stdout, re.MULTILINE), "it is said how many capsules its calls need")
    eventually(digits, "it has as many as it was told")


def test_read_the_status(shell: Shell) -> None:
    (wait,) = typed("Waiting for a pool", "docs/observe.md")
    assert "condition met" in shell.run(wait).stdout
    assert re.search(r"^digits +2 +2 ", shell.run("kubectl get sp").stdout, re.MULTILINE)


def test_restart_upgrade_and_roll_back(shell: Shell) -> None:
    before = digits()
    (restart,) = typed("Restart")
    shell.run(restart)
    (upgrade,) = typed("Upgrade")
    shell.run(upgrade)
    eventually(lambda: not {*before} & {*digits()}, "its capsules are new ones")
    (back,) = typed("Roll back")
    assert re.search(r"^2 .*deployed", shell.run(back).stdout, re.MULTILINE)
    assert re.search(r"^3 .*deployed.*Rollback to 1", shell.run("helm history snakepit -n snakepit-system").stdout, re.MULTILINE)


def test_drain_a_node(shell: Shell) -> None:
    redis = get("pod", "snakepit-redis-0", namespace=SYSTEM)["spec"]["nodeName"]
    (node,) = {each["metadata"]["name"] for each in get("nodes", namespace="")} - {redis}
    drain, uncordon = typed("Drain a node")[0].splitlines()
    shell.run(f"export NODE={node}")
    shell.run(drain)

    def are_away() -> bool:
        """One that takes a place is on no node for a moment."""
        return {pod["spec"].get("nodeName") for pod in get("pods", namespace="default", selector="snakepit.dev/pool=digits")} == {redis}

    eventually(are_away, "the node has none of it")
    shell.run(uncordon)
    eventually(digits, "it is as it was")


def test_back_up_and_restore_pools_and_sessions(shell: Shell) -> None:
    pools, sessions, restore = typed("Back up and restore")
    assert "digits" in shell.run(pools).stdout
    shell.run(sessions)
    shell.run(f"snakepit --kube session delete {SESSION}")
    restarts = restarts_of_redis()
    shell.run(restore)
    eventually(lambda: restarts_of_redis() > restarts, "Redis starts again")
    eventually(lambda: "7" in shell.run(f"snakepit --kube session state {SESSION}").stdout, "the session is back, with its state")


def restarts_of_redis() -> int:
    pod = get("pod", "snakepit-redis-0", namespace=SYSTEM)
    assert is_ready(pod)
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def test_uninstall(shell: Shell) -> None:
    (uninstall,) = typed("Uninstall")
    assert 'release "snakepit" uninstalled' in shell.run(uninstall).stdout
    gone = ("kubectl", "get", "pods", "-A", "-l", "app.kubernetes.io/part-of=snakepit", "-o", "name")
    eventually(lambda: not run(*gone).stdout, "all is gone")


CRD = "crd/snakepools.snakepit.dev"
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@pytest.fixture
def tenant(shell: Shell, tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of somebody who may do everything in the namespace `team`, and nothing else."""
    defined = kubectl("get", CRD, "--ignore-not-found", "-o", "name")
    kubectl("create", "namespace", "team")
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "everything"}}
    apply({**kind, "rules": [EVERYTHING]}, namespace="team")
    kubectl("create", "rolebinding", "everything", "--role=everything", "--user=tenant", "-n", "team")
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json"))
    for each in config["users"]:
        each["user"]["as"] = "tenant"
    file = tmp_path / "tenant.kubeconfig"
    file.write_text(json.dumps(config))
    yield file
    shell.run("helm uninstall snakepit -n team", check=False)
    kubectl("delete", "namespace", "team", "--wait=false")
    if not defined:
        kubectl("delete", CRD)  # A release that brings its own takes over none of anybody else's.


def test_install_in_a_namespace_of_ones_own_without_cluster_roles(shell: Shell, tenant: Path) -> None:
    define, install, *_ = typed("Other ways to install")
    shell.run(define)
    before = kubectl("get", "clusterroles,clusterrolebindings", "-o", "name")
    refused = run("kubectl", "--kubeconfig", str(tenant), "get", "nodes", check=False).stderr
    assert "Forbidden" in refused
    done = shell.run(f"(\nexport KUBECONFIG={tenant}\n{install})")
    assert "Hello Helm, this is Snakepit." in done.stdout + done.stderr
    assert kubectl("get", "clusterroles,clusterrolebindings", "-o", "name") == before
