"""What the pages of docs/ have somebody apply: a real API server takes each object, with no field that it doesn't know, and the chart takes
each set of values. What is typed about rights, labels and authorities does there what its page says.

Objects whose kinds this API server doesn't know are tried elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.api_server import ADMIN, ApiServer
from support.chart import Render, check_values
from support.documents import section
from support.go_tools import go_module
from support.pages import PAGES, ROOT, Block, blocks

Run = Any

ELSEWHERE = {
    "Application": "tests/chart/test_pages.py",
    "BackendTLSPolicy": "tests/chart/test_routes.py",
    "Certificate": "tests/cert_manager/test_cert_manager.py",
    "HTTPRoute": "tests/chart/test_routes.py",
    "Issuer": "tests/cert_manager/test_cert_manager.py",
    "ScaledObject": "tests/support/documents.py",
}
"""Kinds of others, and who applies or reads those of the pages."""
FLUX = "github.com/fluxcd/kustomize-controller@v1.7.2"
OF_OTHERS = {"route": "tests/support/alertmanager.py"}
"""What is neither an object nor values, by its first key: a configuration of Alertmanager's."""
POOL = {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": "one"}}


def documents() -> list[tuple[Block, Any]]:
    return [(block, each) for page in PAGES for block in blocks(page, "yaml") for each in yaml.safe_load_all(block.text)]


def chosen(objects: bool) -> list[Any]:
    return [pytest.param(block.page, each, id=block.id) for block, each in documents() if ("kind" in each) is objects]


def elsewhere(file: str, page: str) -> None:
    """Tests that name a page read it."""
    assert page in (ROOT / file).read_text()


def taken(run: Run, document: dict[str, Any]) -> None:
    """But for the namespace, which is one that is there."""
    own = {**document, "metadata": {**document["metadata"], "namespace": "default"}}
    run("kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(own))


def pod_of(pool: dict[str, Any]) -> dict[str, Any]:
    """A pod of what a pool's template says, without what the operator puts into it: the API server doesn't look into templates."""
    template = pool["spec"].get("template", {})
    spec = {"containers": [{"name": "worker"}], **template.get("spec", {})}
    with_image = [{"image": pool["spec"].get("image", "example/one:1"), **each} for each in spec["containers"]]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", **template.get("metadata", {})},
        "spec": {**spec, "containers": with_image},
    }


@pytest.fixture(scope="module")
def gvisor(run: Run) -> Iterator[None]:
    """The API server makes no pod of a RuntimeClass that isn't there."""
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "gvisor"}, "handler": "runsc"}
    run("kubectl", "apply", "--server-side", "-f", "-", stdin=json.dumps(kind))
    yield
    run("kubectl", "delete", "runtimeclass", "gvisor")


@pytest.fixture(scope="module")
def flux(run: Run) -> Iterator[None]:
    """Flux' definition of a Kustomization, as its Go module has it."""
    file = str(go_module(FLUX) / "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml")
    run("kubectl", "apply", "--server-side", "-f", file)
    run("kubectl", "wait", "--for=condition=Established", "--timeout=30s", "crd/kustomizations.kustomize.toolkit.fluxcd.io")
    yield
    run("kubectl", "delete", "-f", file)


@pytest.mark.parametrize(("page", "document"), chosen(objects=True))
def test_an_object_of_a_page_is_one_that_the_api_server_takes(run: Run, flux: None, page: str, document: dict[str, Any]) -> None:
    if document["kind"] in ELSEWHERE:
        elsewhere(ELSEWHERE[document["kind"]], page)
        return
    taken(run, document)
    if document["kind"] == "SnakePool":
        taken(run, pod_of(document))


@pytest.mark.parametrize(("page", "values"), chosen(objects=False))
def test_what_is_no_object_is_a_part_of_a_pool_or_values_of_the_chart(run: Run, gvisor: None, page: str, values: dict[str, Any]) -> None:
    if (first := next(iter(values))) in OF_OTHERS:
        elsewhere(OF_OTHERS[first], page)
    elif first == "spec":
        pool = {**POOL, "spec": {"worker": {"adapter": "a.b:C"}, **values["spec"]}}
        taken(run, pool)
        taken(run, pod_of(pool))
    else:
        check_values(values)


# ---- what is typed


class Terminal:
    """Of the administrator, in the checkout; files are written beside it."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._folder = folder
        self._own = {"KUBECONFIG": str(server.kubeconfig(ADMIN)), "PATH": f"{server.programs}:{os.environ['PATH']}"}
        (folder / "docs").symlink_to(ROOT / "docs")

    def __call__(self, text: str) -> str:
        """What the last command has said. Each has to do what it is for."""
        words = ["bash", "-euo", "pipefail", "-c", text]
        done = subprocess.run(
            words, cwd=self._folder, env={**os.environ, **self._own}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def typed(server: ApiServer, tmp_path: Path) -> Terminal:
    return Terminal(server, tmp_path)


@pytest.fixture(scope="module")
def namespaces(run: Run, render: Render) -> Iterator[None]:
    """Those that pages speak of, and the roles that the chart brings."""
    for name in ("shop", "models", "monitoring", "argocd"):
        run("kubectl", "create", "namespace", name)
    roles = json.dumps({"apiVersion": "v1", "kind": "List", "items": render().of("ClusterRole")})
    run("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=roles)
    yield
    run("kubectl", "delete", "-f", "-", stdin=roles)


def test_the_role_binding_of_the_page_lets_whom_it_names_call(namespaces: None, typed: Terminal) -> None:
    give, ask = (block.text for block in blocks("docs/security.md", "sh", "Rights"))
    assert typed(f"{ask.strip()} || true").strip() == "no"
    typed(give)
    assert typed(ask).strip() == "yes"


def test_a_namespace_without_a_pool_gets_the_authority_as_the_page_says_and_a_newer_one_in_the_same_way(
    namespaces: None, run: Run, typed: Terminal
) -> None:
    (copy,) = (block.text for block in blocks("docs/security.md", "sh", "A caller's pod"))
    for authority in ("one", "two"):
        run("kubectl", "delete", "configmap", "snakepit-ca", "-n", "models", "--ignore-not-found")
        run("kubectl", "create", "configmap", "snakepit-ca", "-n", "models", f"--from-literal=ca.crt={authority}")
        typed(copy)
        assert run("kubectl", "get", "configmap", "snakepit-ca", "-n", "shop", "-o", r"jsonpath={.data.ca\.crt}") == authority


@pytest.mark.parametrize("page", ["docs/security.md", "docs/monitoring.md"])
def test_labels_of_the_pages_are_those_that_network_policies_go_by(namespaces: None, typed: Terminal, render: Render, page: str) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.text.splitlines() if line.startswith("kubectl label ")]
    policies = json.dumps(render("networkPolicy.enabled=true").of("NetworkPolicy"))
    assert lines
    for line in lines:
        typed(line)
        name, value = line.split()[-1].split("=")
        assert f'"{name}": "{value}"' in policies, line


def test_argo_cd_gets_the_health_script_beside_what_it_has(namespaces: None, run: Run, typed: Terminal) -> None:
    (line,) = (block.text for block in blocks("docs/gitops.md", "sh"))
    run("kubectl", "create", "configmap", "argocd-cm", "-n", "argocd", "--from-literal=url=https://argocd.example")
    typed(line)
    data = json.loads(run("kubectl", "get", "configmap", "argocd-cm", "-n", "argocd", "-o", "json"))["data"]
    script = (ROOT / "docs/argo-cd/health.lua").read_text()
    assert data == {"url": "https://argocd.example", "resource.customizations.health.snakepit.dev_SnakePool": script}
    assert "docs/argo-cd/health.lua" in section("gitops.md", "Argo CD")
