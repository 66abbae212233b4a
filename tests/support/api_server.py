"""A real API server without a cluster: etcd and kube-apiserver on loopback, no nodes, no controllers, no root.

The programs are those of hack/cluster, out of its cache; where they aren't built yet, the first test that wants them builds them (once, up
to eight minutes). What is missing of a cluster a test plays itself, as `admin.Admin`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .go_tools import BUILD_SECONDS, ROOT
from .ports import free_port

START_SECONDS = 60.0
SYSTEM = "snakepit-system"
TEAM = "team"
"""The namespace of a release that has no rights outside of it."""
ADMIN, OPERATOR, TEAMS_OPERATOR = "admin", "operator", "teams-operator"
FRONT_PROXY = "front-proxy-client"
TOKENS = f"""admin,admin,admin,"system:masters"
operator,system:serviceaccount:{SYSTEM}:snakepit-operator,operator,"system:serviceaccounts,system:authenticated"
teams-operator,system:serviceaccount:{TEAM}:snakepit-operator,teams-operator,"system:serviceaccounts,system:authenticated"
control-plane,system:serviceaccount:{SYSTEM}:snakepit-control-plane,control-plane,"system:serviceaccounts,system:authenticated"
"""
"""Token, user, uid, groups. Operators and control plane are who they are in a cluster: they have the chart's rights and no others."""

AUDIT = f"""apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {{level: Metadata, verbs: [watch]}}
  - level: Metadata
    users: ["system:serviceaccount:{SYSTEM}:snakepit-operator", "system:serviceaccount:{SYSTEM}:snakepit-control-plane"]
"""


def programs() -> Path:
    """Their folder. Skips the test where there is no Go, which is needed even to find them."""
    if not (shutil.which("go") or shutil.which("/usr/local/go/bin/go")):
        pytest.skip("there is no Go to build Kubernetes' API server with: `make test-cluster` needs it too, and hack/cluster says which")
    command = [sys.executable, str(ROOT / "hack/cluster"), "programs"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def certificate(folder: Path, name: str, address: str = "") -> tuple[Path, Path]:
    """One that has signed itself, and its key; whoever trusts it trusts only this one. `address`: of a server that shows it."""
    made, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=IP:{address}"] if address else []
    subprocess.run([*command, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


class ApiServer:
    """Both processes, and who may log in. The data lives until `close`, also while the API server is `down`."""

    def __init__(self, programs: Path, folder: Path, audit: str = AUDIT) -> None:
        self.programs, self.folder = programs, folder
        self.port, self._store_port = free_port(), free_port(1)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "tokens.csv").write_text(TOKENS)
        (folder / "audit.yaml").write_text(audit)
        subprocess.run(["openssl", "genrsa", "-out", str(folder / "sa.key"), "2048"], check=True, capture_output=True)
        self.front_proxy = certificate(folder, FRONT_PROXY)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        """Made by the API server at its first start, and kept; its own CA is in it."""
        return self.folder / "certificates/apiserver.crt"

    def start(self) -> None:
        """Returns when it is ready."""
        store = f"http://127.0.0.1:{self._store_port}"
        peers = f"http://127.0.0.1:{self._store_port + 1}"
        files = [f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync"]
        self._launch("etcd", *files, f"--listen-client-urls={store}", f"--advertise-client-urls={store}", f"--listen-peer-urls={peers}")
        self.up()

    def up(self) -> None:
        """Start the API server, and wait until it is ready."""
        key = self.folder / "sa.key"
        self._launch(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._store_port}",
            "--bind-address=127.0.0.1",
            # Or it looks for a route to the outside, which there need not be.
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self.folder / 'certificates'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--audit-policy-file={self.folder / 'audit.yaml'}",
            f"--audit-log-path={self.folder / 'audit.log'}",
            # Nobody is here who gives each namespace its service account.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--requestheader-client-ca-file={self.front_proxy[0]}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={self.front_proxy[0]}",
            f"--proxy-client-key-file={self.front_proxy[1]}",
        )
        end = time.monotonic() + START_SECONDS
        while not self._ready():
            assert time.monotonic() < end, self._log("kube-apiserver")
            time.sleep(0.05)

    def autoscale(self) -> None:
        """From now on there are HorizontalPodAutoscalers, which look every second, with the rights that they have everywhere."""
        self._launch(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig(ADMIN)}",
            "--controllers=horizontal-pod-autoscaler-controller",
            "--horizontal-pod-autoscaler-sync-period=1s",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--secure-port=0",
        )

    def end_autoscaling(self) -> None:
        self._end("kube-controller-manager")

    def control(self, *controllers: str) -> None:
        """These of Kubernetes' controllers work, until they are `uncontrolled`."""
        self._launch(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig(ADMIN)}",
            "--leader-elect=false",
            "--secure-port=0",
            f"--controllers={','.join(controllers)}",
        )

    def uncontrolled(self) -> None:
        self._end("kube-controller-manager")

    def down(self) -> None:
        """As `kill -9`: every connection breaks, and nobody listens any more."""
        self._end("kube-apiserver")

    def snapshot(self) -> Path:
        """What the store holds now, kept. It stands still for that moment: its files are as they would be after `kill -9`."""
        kept, store = self.folder / "snapshot", self._running["etcd"]
        shutil.rmtree(kept, ignore_errors=True)
        store.send_signal(signal.SIGSTOP)
        try:
            shutil.copytree(self.folder / "etcd", kept)
        finally:
            store.send_signal(signal.SIGCONT)
        return kept

    def restore(self, kept: Path) -> None:
        """The store holds what it held then; all that was written since is forgotten, and versions go on from there."""
        self.close()
        shutil.rmtree(self.folder / "etcd")
        shutil.copytree(kept, self.folder / "etcd")
        self.start()

    def close(self) -> None:
        for name in list(self._running):
            self._end(name)

    def kubeconfig(self, user: str, server: str = "") -> Path:
        """Of `ADMIN` or `OPERATOR`. `server`: where the API server is reached otherwise than at its own port."""
        cluster = {"server": server or self.url, "certificate-authority": str(self.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        path = self.folder / f"{user}-{(server or self.url).rpartition(':')[2]}.kubeconfig"
        whole = path.with_suffix(f".{secrets.token_hex(4)}")
        whole.write_text(json.dumps(document))
        whole.replace(path)  # Several shells have it at once, and an empty one sends kubectl to localhost:8080.
        return path

    def watches(self) -> list[str]:
        """What was asked for by every watch so far, as paths with their queries."""
        return [urllib.parse.unquote(each["requestURI"]) for each in self._audit() if each["verb"] == "watch"]

    def audited(self) -> int:
        """How much the audit log has so far, for `refusals`."""
        return (self.folder / "audit.log").stat().st_size

    def refusals(self, since: int) -> list[str]:
        """What was refused since then to our components of SYSTEM: `operator: create pods`."""
        found = []
        for each in self._audit(since):
            who = each["user"]["username"].removeprefix(f"system:serviceaccount:{SYSTEM}:snakepit-")
            if each.get("responseStatus", {}).get("code") == 403 and who != each["user"]["username"]:
                what = each["objectRef"]
                of = "/".join(filter(None, (what["resource"], what.get("subresource"))))
                found.append(f"{who}: {each['verb']} {of}.{what.get('apiGroup', '')}".rstrip("."))
        return found

    def _audit(self, since: int = 0) -> list[dict[str, Any]]:
        with (self.folder / "audit.log").open("rb") as log:
            log.seek(since)
            return [json.loads(line) for line in log if line.endswith(b"\n")]

    def _launch(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen([self.programs / name, *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait(START_SECONDS)

    def _ready(self) -> bool:
        for name, process in self._running.items():
            assert process.poll() is None, self._log(name)
        with contextlib.suppress(OSError, ssl.SSLError, subprocess.TimeoutExpired):
            return _ask(self.port, self.certificate)
        return False

    def _log(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-30:])


def _ask(port: int, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=2.0, context=context)
    try:
        connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {ADMIN}"})
        return connection.getresponse().read() == b"ok"
    except http.client.HTTPException:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def api_server(folder: Path, audit: str = AUDIT) -> Iterator[ApiServer]:
    """One that serves, ended at the end. `audit`: the policy of what its log has."""
    server = ApiServer(programs(), folder, audit)
    try:
        server.start()
        yield server
    finally:
        server.close()
