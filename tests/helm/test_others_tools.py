"""The chart by tools of others that people have: helm 3, and helm-docs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.api_server import ADMIN, api_server
from support.chart import CHART, EVERYTHING, Manifest, parse
from support.go_tools import BUILD_SECONDS, go_tool

pytestmark = pytest.mark.timeout(2 * BUILD_SECONDS)

SETTINGS = {
    "nothing": (),
    "everything": EVERYTHING,
    "cert-manager": ("tls.issuerRef.name=company", "gateway.enabled=true", "metricsApi.enabled=true", "keda.enabled=true"),
    "others' pods": (
        "pods.tolerations[0].key=dedicated",
        "redis.podSecurityContext.runAsUser=null",
        "authentication=off",
        "tls.enabled=false",
    ),
    "namespaces": ("watchNamespaces={one,two}", "crds.enabled=false", "redis.url=redis://store:6379/0"),
}
SAME = ("redis.password=one", "metricsApi.certificate.existingSecret=mine", "metricsApi.certificate.caBundle=PEM")
"""What would be made up anew each time."""
MISSPELT = {
    "operater": "operater.replicas=1",
    "kee": "pods.tolerations[0].kee=dedicated",
    "nam": "redis.extraVolumes[0].configMap.nam=ca",
    "logLevel": "logLevel=loud",
}


def template(helm: Path, *values: str) -> subprocess.CompletedProcess[str]:
    sets = [word for value in values for word in ("--set", value)]
    command = [helm, "template", "snakepit", CHART, "-n", "snakepit-system", "--kube-version", "v1.35.0", *sets]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def objects(helm: Path, *values: str) -> dict[tuple[str, str, str], Manifest]:
    done = template(helm, *SAME, *values)
    assert done.returncode == 0, done.stderr
    return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in parse(done.stdout)}


@pytest.mark.parametrize("values", SETTINGS.values(), ids=SETTINGS)
def test_helm_3_makes_what_helm_4_makes(values: tuple[str, ...]) -> None:
    ours = objects(go_tool("helm"), *values)
    assert objects(go_tool("helm-3"), *values) == ours
    assert len(ours) > 20


@pytest.mark.parametrize(("wrong", "value"), MISSPELT.items(), ids=MISSPELT)
def test_helm_3_refuses_what_is_wrong_too_and_names_it(wrong: str, value: str) -> None:
    done = template(go_tool("helm-3"), value)
    assert done.returncode
    assert re.search(rf"\b{wrong}\b", done.stderr)


def test_helm_3_has_nothing_against_the_chart() -> None:
    linted = subprocess.run([go_tool("helm-3"), "lint", "--strict", CHART], capture_output=True, text=True, timeout=60, check=False)
    assert linted.returncode == 0, linted.stdout


def test_helm_3_installs_upgrades_rolls_back_and_uninstalls(tmp_path: Path) -> None:
    with api_server(tmp_path) as server:
        access = ["--kubeconfig", server.kubeconfig(ADMIN), "-n", "tools"]

        def typed(program: Path, *words: str | Path) -> str:
            done = subprocess.run([program, *words, *access], capture_output=True, text=True, timeout=120, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def held(kind: str, name: str, path: str) -> str:
            return typed(server.programs / "kubectl", "get", kind, name, "--ignore-not-found", "-o", f"jsonpath={{{path}}}")

        helm, password = go_tool("helm-3"), ("secret", "snakepit-redis", ".data.password")
        level = ("deployment", "snakepit-operator", ".spec.template.spec.containers[0].env[?(@.name=='SNAKEPIT_LOG_LEVEL')].value")
        assert "Snakepit dev is in tools." in typed(helm, "install", "snakepit", CHART, "--create-namespace")
        first = held(*password)
        typed(helm, "upgrade", "snakepit", CHART, "--set", "logLevel=debug")
        assert (held(*password), held(*level)) == (first, "debug")
        typed(helm, "rollback", "snakepit", "1")
        assert (held(*password), held(*level)) == (first, "info")
        typed(helm, "uninstall", "snakepit")
        assert held("deployment", "snakepit-operator", ".metadata.name") == ""
        assert held("crd", "snakepools.snakepit.dev", ".metadata.name") == "snakepools.snakepit.dev"


def test_helm_docs_makes_the_same_readme() -> None:
    words = ["--chart-search-root", CHART.parent, "--sort-values-order", "file", "--log-level", "warning", "--dry-run"]
    made = subprocess.run([go_tool("helm-docs"), *words], capture_output=True, text=True, timeout=60, check=True)
    assert made.stderr == ""
    assert made.stdout.rstrip() == (CHART / "README.md").read_text().rstrip()
