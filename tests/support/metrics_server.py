"""The real metrics-server, as a process beside the cluster of hack/cluster: autoscalers read there what pods use of CPU."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.kube import eventually, get, kubectl

PORT = 19444
SERVICE = {"name": "metrics-server", "namespace": "kube-system"}
API = "v1beta1.metrics.k8s.io"
END_SECONDS = 20.0
OPTIONS = (
    f"--secure-port={PORT}",
    "--bind-address=127.0.0.1",
    "--kubelet-preferred-address-types=InternalIP",
    "--kubelet-insecure-tls",
    "--metric-resolution=10s",
    "--kubelet-request-timeout=5s",
)


@contextlib.contextmanager
def metrics_server(program: Path, folder: Path) -> Iterator[None]:
    """Until it is served what pods use. It goes by the test's own kubeconfig; `folder` gets its certificates and its log."""
    access = [f"--{each}kubeconfig={os.environ['KUBECONFIG']}" for each in ("", "authentication-", "authorization-")]
    log = folder / "metrics-server.log"
    with log.open("wb") as out:
        running = subprocess.Popen([program, *OPTIONS, *access, f"--cert-dir={folder}"], stdout=out, stderr=out)
    try:
        kubectl("apply", "-f", "-", stdin=json.dumps(_known()))
        eventually(lambda: _serves(running, log), f"metrics-server serves: {log}")
        yield
    finally:
        running.terminate()
        running.wait(END_SECONDS)
        kubectl("delete", "apiservice", API)


def _known() -> dict[str, object]:
    """Where the API server finds it: it runs beside us."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": SERVICE, "spec": {"type": "ExternalName", "externalName": "localhost"}}
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100}
    spec |= {"service": {**SERVICE, "port": PORT}, "insecureSkipTLSVerify": True}
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": API}, "spec": spec}
    return {"apiVersion": "v1", "kind": "List", "items": [service, api]}


def _serves(running: subprocess.Popen[bytes], log: Path) -> bool:
    if running.poll() is not None:
        raise RuntimeError(f"metrics-server has ended\n{log.read_text(errors='replace')[-2000:]}")
    conditions = get("apiservice", API, namespace=SERVICE["namespace"]).get("status", {}).get("conditions", [])
    return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)
