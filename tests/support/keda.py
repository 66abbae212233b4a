"""The real KEDA, as processes that know the cluster by its kubeconfig."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.kube import eventually, get, kubectl

OURS = "keda"
"""KEDA's own namespace."""
SERVICE_PORT, SERVER_PORT, METRICS_PORT = 19666, 19443, 19080
END_SECONDS = 20.0


class Keda:
    """`programs` is what hack/keda.py has built; certificates and logs go into `folder`."""

    def __init__(self, programs: Path, folder: Path, kubeconfig: Path) -> None:
        self.programs, self.folder, self.kubeconfig = programs, folder, kubeconfig
        self._running: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Keda]:
        try:
            self._define()
            self._certify()
            files = (f"--tls-cert-file={self.folder}/tls.crt", f"--tls-private-key-file={self.folder}/tls.key")
            access = [f"--{each}-kubeconfig={self.kubeconfig}" for each in ("authentication", "authorization", "lister")]
            self._start(
                "operator",
                "--enable-prometheus-metrics=false",
                "--health-probe-bind-address=0",
                f"--metrics-service-bind-address=127.0.0.1:{SERVICE_PORT}",
                f"--cert-dir={self.folder}",
            )
            self._start(
                "adapter",
                f"--secure-port={SERVER_PORT}",
                "--bind-address=127.0.0.1",
                f"--port={METRICS_PORT}",
                f"--metrics-service-address=localhost:{SERVICE_PORT}",
                f"--cert-dir={self.folder}",
                f"--client-ca-file={self.folder}/ca.crt",
                *files,
                *access,
            )
            eventually(self._is_available, f"KEDA's metrics are served\n{self.log('operator')}\n{self.log('adapter')}")
            yield self
        finally:
            for each in self._running:
                each.terminate()
            for each in self._running:
                each.wait(END_SECONDS)

    def log(self, name: str) -> str:
        """The end of it."""
        file = self.folder / f"{name}.log"
        return "\n".join(file.read_text(errors="replace").splitlines()[-40:]) if file.exists() else ""

    def _define(self) -> None:
        """KEDA's CRDs, and where the API server finds its metrics: it runs beside us."""
        kubectl("apply", "--server-side", "-f", str(self.programs / "crds"))
        metadata = {"name": "keda-metrics-apiserver", "namespace": OURS}
        service = {"name": "keda-metrics-apiserver", "namespace": OURS, "port": SERVER_PORT}
        group = {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100}
        documents = [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OURS}},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"type": "ExternalName", "externalName": "localhost"}},
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
                "spec": {**group, "service": service, "insecureSkipTLSVerify": True},
            },
        ]
        kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}))

    def _certify(self) -> None:
        """Its operator and its metrics server know each other by one certificate, which is its own authority."""
        curve = ("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
        names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        files = ("-keyout", self.folder / "tls.key", "-out", self.folder / "tls.crt")
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", *curve, *names, *files], check=True, capture_output=True
        )
        (self.folder / "ca.crt").write_bytes((self.folder / "tls.crt").read_bytes())

    def _start(self, name: str, *options: str) -> None:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "POD_NAMESPACE": OURS,
            "WATCH_NAMESPACE": "",
            "KEDA_CLUSTER_OBJECT_NAMESPACE": OURS,
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [self.programs / f"keda-{name}", *options]
            self._running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    def _is_available(self) -> bool:
        for each in self._running:
            if each.poll() is not None:
                raise RuntimeError(f"a program of KEDA has ended\n{self.log('operator')}\n{self.log('adapter')}")
        conditions = get("apiservice", "v1beta1.external.metrics.k8s.io", namespace=OURS).get("status", {}).get("conditions", [])
        return any(each["type"] == "Available" and each["status"] == "True" for each in conditions)
