"""The real cert-manager (hack/certmanager), as a process that knows the cluster by its kubeconfig."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.go_tools import ROOT, go_tool
from support.kube import eventually, kubectl

sys.path.append(str(ROOT / "hack"))
from go_tools import go

MODULE = "github.com/cert-manager/cert-manager"
END_SECONDS = 20.0
DOWNLOAD_SECONDS = 300


@contextlib.contextmanager
def cert_manager(folder: Path, kubeconfig: Path) -> Iterator[None]:
    """It runs, and its kinds are known; KUBECONFIG and PATH lead kubectl to that cluster. Its log goes into `folder`."""
    program = go_tool("cert-manager")
    kubectl("apply", "--server-side", "-f", str(_sources() / "deploy/crds"))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd/certificates.cert-manager.io", "crd/issuers.cert-manager.io")
    file = folder / "cert-manager.log"
    with file.open("wb") as log:
        own = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        process = subprocess.Popen([program], env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def runs() -> bool:
        assert process.poll() is None, file.read_text()[-3000:]
        return "Starting workers" in file.read_text()

    try:
        eventually(runs, f"cert-manager runs, as {file} says")
        yield
        assert process.poll() is None, file.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(END_SECONDS)


def _sources() -> Path:
    """Where Go has them, of the version that it is built of."""
    if (compiler := go()) is None:
        pytest.skip("there is no Go to have cert-manager's module with")
    command, folder = [compiler, "mod", "download", "-json", MODULE], ROOT / "hack/certmanager"
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=True).stdout
    return Path(json.loads(told)["Dir"])
