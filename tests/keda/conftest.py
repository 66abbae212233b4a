"""The real KEDA beside a release: its operator and its metrics server are processes here, where the cluster's services can be reached."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.incluster import E2E, config_map, standing_caller
from support.keda import Keda
from support.kube import apply, install, kubectl, make_namespace

NAMESPACE = "snakepit-keda"


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    make_namespace("snakepit-system")
    install("snakepit-system", "--set", "keda.enabled=true")
    make_namespace(NAMESPACE)
    apply(config_map("probe", E2E / "probe.py", E2E / "load.py"), namespace=NAMESPACE)
    standing_caller(namespace=NAMESPACE)
    yield NAMESPACE
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="session")
def keda(namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keda]:
    programs = subprocess.run(["python3", "hack/keda.py"], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    with Keda(Path(programs), tmp_path_factory.mktemp("keda"), Path(os.environ["KUBECONFIG"])).running() as made:
        yield made
