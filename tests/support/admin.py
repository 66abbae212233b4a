"""The administrator of a real API server, and what else of a cluster isn't there: it binds pods, says that they run, and ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from snakepit._names import new_id
from snakepit.spec.fields import API_VERSION, KIND

from .api_server import ADMIN, AUDIT, SYSTEM, ApiServer, api_server
from .chart import rendered
from .eventually import eventually
from .go_tools import ROOT

Object = dict[str, Any]

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POOLS = "/apis/snakepit.dev/v1alpha1"
_KINDS = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Lease")


class Refused(AssertionError):
    """The API server said no to the test itself."""

    def __init__(self, status: int, answer: Object) -> None:
        super().__init__(f"HTTP {status}: {answer.get('message')}")
        self.status = status


class Admin:
    """The cluster's administrator, scheduler and kubelet, by plain requests. `namespace` is the test's own."""

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self.server, self.namespace = server, namespace
        self._session = aiohttp.ClientSession(
            server.url,
            headers={"Authorization": f"Bearer {ADMIN}"},
            connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=server.certificate)),
            timeout=aiohttp.ClientTimeout(30),
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """The answer. Raises Refused."""
        async with self._session.request(method, path, json=body, headers={"Content-Type": kind}) as response:
            text = await response.text()
        answer = json.loads(text) if text.startswith("{") else {"message": text}
        if response.status >= 300:
            raise Refused(response.status, answer)
        return dict(answer)

    async def first_line(self, path: str) -> Object:
        """Of what a watch there is told; empty: nothing."""
        async with self._session.get(path) as response:
            return dict(json.loads(await response.content.readline() or b"{}"))

    async def kubectl(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """The real kubectl as the administrator, in the test's namespace: its exit status, and what it prints."""
        program, config = self.server.programs / "kubectl", self.server.kubeconfig(ADMIN)
        command = [str(program), "--kubeconfig", str(config), "-n", self.namespace, *words]
        done = await asyncio.to_thread(subprocess.run, command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    async def merge(self, path: str, body: Object) -> Object:
        return await self.ask("PATCH", path, body, "application/merge-patch+json")

    async def make_namespace(self, **labels: str) -> None:
        metadata = {"name": self.namespace, "labels": labels}
        await self.ask("POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    async def define(self) -> None:
        """SnakePools are known from now on."""
        body = crd()
        await self.ask("POST", CRD, body)
        await eventually(self._defined, "SnakePools are served")

    async def _defined(self) -> bool:
        with contextlib.suppress(Refused):
            await self.ask("GET", self.pools_path())
            return True
        return False

    def pools_path(self, name: str = "") -> str:
        return f"{POOLS}/namespaces/{self.namespace}/snakepools/{name}".rstrip("/")

    def path(self, plural: str, name: str = "") -> str:
        """Of a core object in the test's namespace."""
        return f"/api/v1/namespaces/{self.namespace}/{plural}/{name}".rstrip("/")

    # ---- what a user does

    async def make_pool(self, name: str = "digits", **spec: Any) -> Object:
        body = {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, **spec}
        return await self.ask(
            "POST", self.pools_path(), {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": body}
        )

    async def pool(self, name: str = "digits") -> Object:
        return await self.ask("GET", self.pools_path(name))

    async def edit(self, name: str = "digits", **spec: Any) -> Object:
        return await self.merge(self.pools_path(name), {"spec": spec})

    async def delete(self, plural: str, name: str, **options: Any) -> None:
        await self.ask("DELETE", self.pools_path(name) if plural == "snakepools" else self.path(plural, name), options or None)

    async def every(self, plural: str) -> list[Object]:
        return list((await self.ask("GET", self.path(plural)))["items"])

    async def reason(self, name: str = "digits") -> str:
        """The pool's one word; empty before it has any."""
        return str(((await self.pool(name)).get("status") or {}).get("reason", ""))

    # ---- what scheduler, kubelet and garbage collector do

    async def bind(self, pod: str, node: str = "node-1") -> None:
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": target}
        await self.ask("POST", self.path("pods", pod) + "/binding", binding)

    async def say(self, pod: str, **status: Any) -> None:
        """A pod's status, as its kubelet reports it."""
        await self.merge(self.path("pods", pod) + "/status", {"status": status})

    async def run(self, pod: str) -> None:
        """It is on a node, runs and is ready."""
        await self.bind(pod)
        state = {"state": {"running": {"startedAt": "2026-11-28T00:00:00Z"}}, "image": "i", "imageID": "i", "restartCount": 0}
        worker = {"name": "worker", "ready": True, "started": True, **state}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-28T00:00:00Z"}
        await self.say(pod, phase="Running", conditions=[ready], containerStatuses=[worker])

    async def settle(self) -> None:
        """One look of all kubelets: what is new runs, and what is to go has gone."""
        for pod in await self.every("pods"):
            name = pod["metadata"]["name"]
            try:
                if "deletionTimestamp" in pod["metadata"]:
                    await self.delete("pods", name, gracePeriodSeconds=0)
                elif not pod["spec"].get("nodeName"):
                    await self.run(name)
            except Refused as error:  # It may have gone meanwhile, or be about to.
                if error.status not in (404, 409):
                    raise


@contextlib.contextmanager
def equipped(folder: Path, audit: str = AUDIT) -> Iterator[ApiServer]:
    """One that serves, with the SnakePools' definition and the operator's rights."""
    with api_server(folder, audit) as server:
        asyncio.run(_equip(server))
        yield server


async def _equip(server: ApiServer) -> None:
    admin = Admin(server, SYSTEM)
    try:
        await admin.make_namespace()
        await admin.define()
        await grant(admin)
    finally:
        await admin.close()


async def grant(admin: Admin, *values: str) -> set[str]:
    """What an operator of a release in the admin's namespace is given by the chart, with these values; the kinds of that."""
    objects = rights(admin.server.programs / "helm", admin.namespace, *values)
    for each in objects:
        await admin.ask("POST", place(each), each)
    return {each["kind"] for each in objects}


def place(each: Object) -> str:
    """Where objects of its kind are, in its namespace."""
    namespace = each["metadata"].get("namespace")
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{each['apiVersion']}{within}/{each['kind'].lower()}s"


@contextlib.asynccontextmanager
async def namespaced(server: ApiServer) -> AsyncIterator[Admin]:
    """The administrator in a new namespace of its own."""
    admin = Admin(server, f"test-{new_id()[:10].lower()}")
    try:
        await admin.make_namespace()
        yield admin
    finally:
        await admin.close()


def crd() -> Object:
    """The SnakePools' definition, as `make crds` wrote it."""
    found = yaml.safe_load((ROOT / "crds/snakepit.dev_snakepools.yaml").read_text())
    assert isinstance(found, dict)
    return found


def rights(helm: Path, namespace: str, *values: str) -> list[Object]:
    """The roles of the operator, the control plane and of people, and the operator's Lease, as the chart has them."""
    return [each for each in rendered(helm, *values, namespace=namespace, hooks=True) if each["kind"] in _KINDS]
