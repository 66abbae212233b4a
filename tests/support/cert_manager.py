"""The real cert-manager (hack/certmanager), as a process that knows the cluster by its kubeconfig."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.go_tools import ROOT, go_tool
from support.kube import eventually, kubectl

MODULE = "github.com/cert-manager/cert-manager"
END_SECONDS = 20.0


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
    command = ["go", "mod", "download", "-json", MODULE]
    told = subprocess.run(command, cwd=ROOT / "hack/certmanager", capture_output=True, text=True, check=True).stdout
    return Path(json.loads(told)["Dir"])
