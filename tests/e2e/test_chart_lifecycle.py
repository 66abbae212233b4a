"""The chart's life on a real API server: installed, upgraded, uninstalled, installed again. Needs `helm`, `kubectl` and a KUBECONFIG.

It works on a copy of the chart whose CRD has a group of its own, so that it never touches the pools of the cluster it runs on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.chart import CHART
from support.kube import eventually

GROUP = "lifecycle.snakepit.test"
CRD = f"snakepools.{GROUP}"
NAMESPACE = "snakepit-lifecycle"
OURS = "app.kubernetes.io/part-of=snakepit"
EVERYTHING = "all,secret,serviceaccount,poddisruptionbudget,networkpolicy,role,rolebinding,lease"
SECONDS = 60

pytestmark = pytest.mark.timeout(240)


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS + 10, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def get(kind: str, name: str, namespace: str = NAMESPACE) -> dict[str, Any]:
    """The object, or an empty dictionary."""
    text = run("kubectl", "get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
    return json.loads(text) if text else {}


def clean() -> None:
    """Also of what a run that was killed has left."""
    run("helm", "uninstall", "snakepit", "-n", NAMESPACE, "--ignore-not-found")
    run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found")
    run("kubectl", "delete", "crd", CRD, "--ignore-not-found")
    # kubectl keeps what it has discovered on disk, and `sp` would go on to mean the pools that are gone; this makes it look again.
    eventually(lambda: GROUP not in run("kubectl", "api-resources", "-o", "name"), "kubectl has forgotten the group")


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("chart") / "snakepit"
    shutil.copytree(CHART, copy)
    crd = copy / "files/crds/snakepools.yaml"
    crd.write_text(crd.read_text().replace("snakepools.snakepit.dev", CRD).replace("group: snakepit.dev", f"group: {GROUP}"))
    return copy


@pytest.fixture(scope="module")
def install(chart: Path) -> Iterator[Any]:
    clean()
    run("kubectl", "create", "namespace", NAMESPACE)
    run("kubectl", "label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    small = ("controlPlane.replicas=0", "operator.replicas=0", f"watchNamespaces={{{NAMESPACE}}}")

    def helm(*values: str) -> str:
        sets = [part for value in (*small, *values) for part in ("--set", value)]
        return run("helm", "upgrade", "--install", "snakepit", str(chart), "-n", NAMESPACE, *sets)

    try:
        yield helm
    finally:
        clean()


@pytest.fixture(scope="module")
def password(install: Any) -> str:
    install()
    return str(get("secret", "snakepit-redis")["data"]["password"])


def test_an_upgrade_keeps_the_redis_password_and_upgrades_the_crd(install: Any, chart: Path, password: str) -> None:
    crd = chart / "files/crds/snakepools.yaml"
    crd.write_text(crd.read_text().replace("- sp\n", "- sp\n    - pit\n", 1))
    install("logLevel=debug")
    assert get("secret", "snakepit-redis")["data"]["password"] == password
    assert "pit" in get("crd", CRD)["spec"]["names"]["shortNames"]


def test_an_upgrade_leaves_the_lead_where_it_is(install: Any, password: str) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "snakepit-operator", "namespace": NAMESPACE}}
    text = json.dumps({**lease, "spec": {"holderIdentity": "somebody"}})
    subprocess.run(["kubectl", "replace", "-f", "-"], input=text, text=True, check=True, timeout=SECONDS)
    install("logLevel=info")
    assert get("lease", "snakepit-operator")["spec"]["holderIdentity"] == "somebody"


def test_uninstalling_leaves_nothing_but_the_crd_and_its_objects_and_installing_again_adopts_it(install: Any, password: str) -> None:
    run("kubectl", "wait", "--for=condition=Established", f"crd/{CRD}", "--timeout=30s")
    pool = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "SnakePool",
        "metadata": {"name": "kept", "namespace": NAMESPACE},
        "spec": {"worker": {"adapter": "kept.tools:Kept"}},
    }
    subprocess.run(["kubectl", "apply", "-f", "-"], input=json.dumps(pool), text=True, check=True, timeout=SECONDS)
    run("helm", "uninstall", "snakepit", "-n", NAMESPACE, "--wait")
    # A pod is collected after its owner; what else there was is gone already.
    run("kubectl", "wait", "--for=delete", "pod", "-n", NAMESPACE, "-l", OURS, f"--timeout={SECONDS}s")
    assert run("kubectl", "get", EVERYTHING, "-n", NAMESPACE, "-l", OURS, "-o", "name") == ""
    assert get(CRD, "kept")["metadata"]["name"] == "kept"
    install()
    assert get(CRD, "kept")["metadata"]["name"] == "kept"
    assert get("deployment", "snakepit-control-plane")


def test_the_api_server_admits_every_pod_under_pod_security_restricted(install: Any) -> None:
    install()
    for kind, name in (("deployment", "snakepit-operator"), ("deployment", "snakepit-control-plane"), ("statefulset", "snakepit-redis")):
        template = get(kind, name)["spec"]["template"]
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"try-{name}", "namespace": NAMESPACE}, "spec": template["spec"]}
        command = ["kubectl", "create", "--dry-run=server", "-f", "-"]
        done = subprocess.run(command, input=json.dumps(pod), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
