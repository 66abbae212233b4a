"""Pods of the e2e tests: pools of the probe adapter, and a caller that runs in the cluster and accounts for every call."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from support.kube import IMAGE_REPOSITORY, IMAGE_TAG, SYSTEM, apply, eventually, get, kubectl, run

E2E = Path(__file__).resolve().parent.parent / "e2e"
SERVICE = f"snakepit.{SYSTEM}:7800"
ALL_REPLICAS = f"dns:///snakepit-control-plane.{SYSTEM}:7800"

RESTRICTED_POD = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
TOKEN_MOUNT = {"name": "snakepit", "mountPath": "/var/run/secrets/snakepit", "readOnly": True}
TOKEN = {
    "name": "snakepit",
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token", "audience": f"snakepit.{SYSTEM}", "expirationSeconds": 3600}},
            {"configMap": {"name": "snakepit-ca"}},
        ]
    },
}
"""The snippet of docs/security.md: by it a pod's calls are let in, and it knows the control plane. Its namespace must have a pool."""
SERVER_NAME = f"snakepit.{SYSTEM}"
"""Whom the control plane's certificate names, whatever address it is dialled by."""


def authority(folder: Path) -> Path:
    """For a program on this machine: by whom it knows the control plane."""
    file = folder / "ca.crt"
    file.write_text(get("configmap", "snakepit-ca", namespace=SYSTEM)["data"]["ca.crt"])
    return file


def call_token(account: str, namespace: str) -> str:
    """What lets a program on this machine in, as that service account."""
    return kubectl("create", "token", account, "-n", namespace, "--audience", f"snakepit.{SYSTEM}").strip()


@contextlib.contextmanager
def may_call(namespace: str, account: str) -> Iterator[None]:
    """That service account, as `namespace:name`, of another namespace may call the pools there meanwhile."""
    name = f"calls-{account.replace(':', '-')}"
    kubectl("create", "rolebinding", name, "-n", namespace, "--clusterrole=snakepit-caller", f"--serviceaccount={account}")
    try:
        yield
    finally:
        kubectl("delete", "rolebinding", name, "-n", namespace)


CLIENT_IMAGE = f"{IMAGE_REPOSITORY}/cli:{IMAGE_TAG}"


def config_map(name: str, *files: Path) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {f.name: f.read_text() for f in files}}


def probe_pool(name: str, adapter: str = "probe:Probe", **spec: Any) -> dict[str, Any]:
    """A SnakePool of the base worker image, with the code mounted from the ConfigMap `probe`."""
    worker = {"adapter": adapter, **spec.pop("worker", {})}
    container = {
        "name": "worker",
        "image": spec.pop("image", f"{IMAGE_REPOSITORY}/worker:{IMAGE_TAG}"),
        "env": [{"name": "PYTHONPATH", "value": "/code"}],
        "volumeMounts": [{"name": "code", "mountPath": "/code", "readOnly": True}],
    }
    template = {"spec": {"containers": [container], "volumes": [{"name": "code", "configMap": {"name": "probe"}}]}}
    body = {"worker": worker, "template": template, **spec}
    return {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": name}, "spec": body}


def client_pod(name: str, script: str, *argv: str) -> dict[str, Any]:
    """A pod that runs a script of the ConfigMap `probe` with the SDK, once."""
    container = {
        "name": "client",
        "image": CLIENT_IMAGE,
        "command": ["python3", f"/code/{script}", *argv],
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "100m"}},
        "volumeMounts": [{"name": "code", "mountPath": "/code"}, {"name": "tmp", "mountPath": "/tmp"}, TOKEN_MOUNT],
    }
    spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": RESTRICTED_POD,
        "containers": [container],
        "volumes": [{"name": "code", "configMap": {"name": "probe"}}, {"name": "tmp", "emptyDir": {}}, TOKEN],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


class Row(NamedTuple):
    """The account of one load: every call that was sent was answered or has failed. `failed`: by reason and by whether it had started."""

    test: str
    sent: int
    answered: int
    failed: Counter[tuple[str, str]]

    def __str__(self) -> str:
        reasons = ", ".join(f"{count} {reason} (started {started.lower()})" for (reason, started), count in sorted(self.failed.items()))
        return f"{self.sent:8}{self.answered:10}{self.failed.total():8}  {self.test}{reasons and f': {reasons}'}"


ACCOUNTS: list[Row] = []
"""Of all loads so far."""

RUNS: ContextVar[str] = ContextVar("RUNS")
"""The test that runs in this thread, where it isn't pytest's own."""


def _sentence() -> str:
    """The test that runs."""
    name = RUNS.get("") or os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].rpartition(" ")[0]
    return name.removeprefix("test_").replace("_", " ")


class Load:
    """load.py in a pod. Use it as a context manager: it starts, the test does harm, `finish` gives the account."""

    def __init__(
        self,
        name: str,
        pool: str,
        *,
        namespace: str,
        concurrency: int = 8,
        seconds: float = 0.02,
        server: str = SERVICE,
        session: str = "",
        node: str = "",
        script: str = "load.py",
        image: str = CLIENT_IMAGE,
    ) -> None:
        self.name, self.namespace, self._node = f"load-{name}", namespace, node
        self._script, self._image = script, image
        self._argv = (server, f"{namespace}/{pool}", str(concurrency), str(seconds), *([session] if session else []))

    def __enter__(self) -> Load:
        pod = client_pod(self.name, self._script, *self._argv)
        pod["spec"]["containers"][0]["image"] = self._image
        pod["spec"] |= {"nodeName": self._node} if self._node else {}
        kubectl("delete", "pod", self.name, "-n", self.namespace, "--ignore-not-found")  # of a test before, on its way out
        apply(pod, namespace=self.namespace)
        eventually(lambda: self._events("started"), f"{self.name} makes its first call")
        return self

    def __exit__(self, *_: object) -> None:
        kubectl("delete", "pod", self.name, "-n", self.namespace, "--ignore-not-found", "--wait=false")

    def _events(self, kind: str) -> list[dict[str, Any]]:
        text = run("kubectl", "logs", self.name, "-n", self.namespace, check=False).stdout
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [event for event in events if event["event"] == kind]

    def served(self) -> int:
        """Calls that have ended well so far."""
        events = self._events("progress") or self._events("started")
        return int(events[-1]["ok"])

    def wait_for_more(self, calls: int = 50) -> None:
        """Until so many more calls have ended well: the load is really on, or is served again."""
        target = self.served() + calls
        eventually(lambda: self.served() >= target, f"{calls} more calls of {self.name} are served", timeout=60)

    def failures(self) -> list[dict[str, Any]]:
        """Calls that have failed so far."""
        return self._events("failed")

    def finish(self) -> dict[str, Any]:
        """Stop it and return its summary, with the failures in `failures`."""
        kubectl("exec", self.name, "-n", self.namespace, "--", "touch", "/tmp/stop")
        summary = eventually(lambda: self._events("summary"), f"{self.name} adds up its calls")[0]
        failures = self._events("failed")
        assert summary["begun"] == summary["ok"] + sum(summary["failed"].values()), f"calls are missing: {summary}"
        failed = summary["failed"] or "none"
        slowest = max(failures, key=lambda each: each["seconds"], default={"message": ""})["message"]
        assert self._events("stale") == [], "what a session was told to keep"
        ACCOUNTS.append(Row(_sentence(), summary["begun"], summary["ok"], Counter((f["reason"], f["started"]) for f in failures)))
        print(f"{self.name}: {summary['begun']} calls, {summary['ok']} served, failed: {failed}, longest {summary['longest']} s")
        if slowest:
            print(f"{self.name}: the failure that took longest: {slowest}")
        return {**summary, "failures": failures}


def call(tool: str, arguments: dict[str, Any], *, pool: str, namespace: str, session: str = "", server: str = SERVICE) -> Any:
    """One call from inside the cluster through the command line, in the standing pod `caller`."""
    argv = ["snakepit", "call", f"{namespace}/{pool}", tool, json.dumps(arguments), "--server", server, "-o", "json"]
    argv += ["--session", session] if session else []
    return json.loads(kubectl("exec", "caller", "-n", namespace, "--", *argv))


def workers(pool: str, *, namespace: str) -> list[dict[str, Any]]:
    """`snakepit workers`, from inside the cluster."""
    argv = ["snakepit", "workers", f"{namespace}/{pool}", "--server", SERVICE, "-o", "json"]
    return list(json.loads(kubectl("exec", "caller", "-n", namespace, "--", *argv)))


def standing_caller(*, namespace: str, node: str = "") -> None:
    """A pod to type commands in, and to play scenes in. `node`: it is to be there, and is made anew if it is elsewhere."""
    if node and get("pod", "caller", namespace=namespace)["spec"]["nodeName"] != node:
        kubectl("delete", "pod", "caller", "-n", namespace)
    pod = client_pod("caller", "load.py")
    container = pod["spec"]["containers"][0]
    container["command"] = ["sleep", "7200"]
    container["env"] = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    container["env"].append({"name": "SNAKEPIT_TLS_SERVER_NAME", "value": SERVER_NAME})  # Scenes dial each replica by its address.
    pod["spec"] |= {"nodeName": node} if node else {}
    apply(pod, namespace=namespace)
    kubectl("wait", "--for=condition=Ready", "pod/caller", "-n", namespace, "--timeout=60s")
