"""A `kubectl` for tests of `snakepit --kube`: lists Services, and forwards ports to a server of this machine, with sockets.

FAKE_KUBECTL is the folder of its script: `services.json` is what it lists, `pods` and `log` the same of pods, `replicas` names of the
control plane's pods, `target` where forwards lead (`target-NAME`: those to that pod), `ca.crt` what a ConfigMap has; each run leaves its
words in `said`, and its pid in `pids`. Files named `login`, `asks`, `forbidden`, `refuses`, `refuses-NAME`, `dies`, `no-pods`, `no-token`,
`no-logs` make it do that. What it prints is what kubectl 1.35 prints; tests/e2e/test_reaching.py plays the same against a real one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest  # What runs as kubectl needs none.

FOLDER = Path(os.environ.get("FAKE_KUBECTL", "."))


def main() -> None:
    words = sys.argv[1:]
    with (FOLDER / "said").open("a") as file:
        file.write(json.dumps(words) + "\n")
    with (FOLDER / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if words[:1] == ["--context"]:
        words = words[2:]
    if words[:2] == ["get", "configmap"]:
        if not (FOLDER / "ca.crt").exists():
            sys.exit(f'Error from server (NotFound): configmaps "{words[2]}" not found')
        print(json.dumps({"data": {"ca.crt": (FOLDER / "ca.crt").read_text()}}))
    elif words[:2] == ["get", "pods"] and words[-1] == "json":
        replicas()
    elif words[:2] == ["get", "pods"]:
        print((FOLDER / "pods").read_text(), end="")
    elif words[0] == "logs":
        logs(words)
    elif words[0] == "get":
        get(words)
    elif words[0] == "create":
        if (FOLDER / "no-token").exists():
            sys.exit('error: failed to create token: serviceaccounts "robot" not found')
        print("a.fresh.token")
    else:
        forward(words)


def get(words: list[str]) -> None:
    if (FOLDER / "login").exists():
        sys.exit("E1128 20:00:00.000000 1 memcache.go:265] noise\nerror: You must be logged in to the server (Unauthorized)")
    if (FOLDER / "asks").exists():
        print("To sign in, open https://login.example and enter ABCD", file=sys.stderr, flush=True)
        while (FOLDER / "asks").exists():
            time.sleep(0.01)
    if (FOLDER / "forbidden").exists() and "--all-namespaces" in words:
        sys.exit('Error from server (Forbidden): services is forbidden: User "ada" cannot list resource "services" at the cluster scope')
    print((FOLDER / "services.json").read_text())


def replicas() -> None:
    """Pods of the control plane, each on a line of the file; there need not be one."""
    if (FOLDER / "no-pods").exists():
        sys.exit('Error from server (Forbidden): pods is forbidden: User "ada" cannot list resource "pods"')
    names = (FOLDER / "replicas").read_text().split() if (FOLDER / "replicas").exists() else []
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    print(json.dumps({"items": [{"metadata": {"name": name}, "status": ready} for name in names]}))


def logs(words: list[str]) -> None:
    """Those of the pods that are named, or of all; with --follow as they come."""
    with (FOLDER / "log").open() as file:
        while True:
            for line in file:
                if not any(word.startswith(("digits-", "tiny-")) for word in words) or f"[pod/{words[3]}/" in line:
                    print(line, end="", flush=True)
            if "--follow" not in words:
                break
            time.sleep(0.01)
    if (FOLDER / "no-logs").exists():
        sys.exit('Error from server (Forbidden): pods is forbidden: User "ada" cannot get resource "pods/log"')


def forward(words: list[str]) -> None:
    to = words[3].rpartition("/")[2]
    if (FOLDER / "refuses").exists() or (FOLDER / f"refuses-{to}").exists():
        sys.exit("error: unable to forward port because pod is not running. Current status=Pending")
    ports = next(word for word in words if ":" in word)
    listener = socket.create_server(("127.0.0.1", int(ports.partition(":")[0] or 0)))
    print(f"Forwarding from 127.0.0.1:{listener.getsockname()[1]} -> {ports.partition(':')[2]}", flush=True)
    own = FOLDER / f"target-{to}"
    host, _, port = (own if own.exists() else FOLDER / "target").read_text().rpartition(":")
    while True:
        near, _ = listener.accept()
        print(f"Handling connection for {listener.getsockname()[1]}", flush=True)
        if (FOLDER / "dies").exists():
            sys.exit("error: lost connection to pod")
        far = socket.create_connection((host, int(port)))
        for one, other in ((near, far), (far, near)):
            threading.Thread(target=copy, args=(one, other), daemon=True).start()


def copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (one, other):
            each.close()


def put_on_path(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """It is `kubectl` now, with that folder, and nothing else says where a release is."""
    script = folder / "kubectl"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    script.chmod(0o755)
    patch.setenv("PATH", str(folder), prepend=os.pathsep)
    patch.setenv("FAKE_KUBECTL", str(folder))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "none"))
    patch.delenv("SNAKEPIT_SERVER", raising=False)


def service(namespace: str, release: str, name: str = "", audience: str = "", ca: str = "", **spec: Any) -> dict[str, Any]:
    """As `kubectl get services -o json` has one of the chart's; `audience`: it asks callers for tokens; `ca`: the ConfigMap of its CA."""
    said = {"snakepit.dev/audience": audience, "snakepit.dev/ca": ca}
    annotations = {name: value for name, value in said.items() if value}
    labels = {"app.kubernetes.io/instance": release, "app.kubernetes.io/part-of": "snakepit"}
    ports = [{"name": "grpc", "port": 7800, "targetPort": "grpc"}]
    return {
        "metadata": {"namespace": namespace, "name": name or release, "labels": labels, "annotations": annotations},
        "spec": {"ports": ports, "clusterIP": "10.0.0.7", **spec},
    }


if __name__ == "__main__":
    main()
