"""The chart's objects at a real API server without nodes, for whoever looks at a release from outside, and its operator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from snakepit.cli.config import Kube as Kubectl
from snakepit.cli.doctor.examination import examine
from snakepit.cli.target import Target
from snakepit.client.findings import Finding
from snakepit_control_plane.server import Running
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Object, place
from support.chart import rendered
from support.tasks import task

KINDS = ("Deployment", "StatefulSet", "Service", "NetworkPolicy")


class Release:
    """The chart's objects in a namespace of their own, whose pods all are ready; kubectl leads to a control plane of this machine."""

    def __init__(self, admin: Admin, folder: Path) -> None:
        self.admin, self.folder = admin, folder

    async def install(self, *values: str) -> None:
        values = ("authentication=off", "tls.enabled=false", "gateway.enabled=true", *values)
        helm, namespace = self.admin.server.programs / "helm", self.admin.namespace
        for each in await asyncio.to_thread(rendered, helm, *values, namespace=namespace):
            if each["kind"] in KINDS:
                await self.admin.ask("POST", path(each), each)
                if each["kind"] in KINDS[:2]:
                    await self.say(each["metadata"]["name"], each["spec"].get("replicas", 1), kind=each["kind"])

    async def uninstall(self) -> None:
        """Or the next test would find two."""
        await self.admin.ask("DELETE", self.path("Deployment"))

    async def say(self, name: str, ready: int, kind: str = "Deployment") -> None:
        """So many of its pods are."""
        body = {"status": {"replicas": max(ready, 1), "readyReplicas": ready}}
        await self.admin.merge(f"{self.path(kind)}/{name}/status", body)

    def path(self, kind: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.admin.namespace}/{kind.lower()}s"

    async def doctor(self, pool: str | None = None, namespace: str | None = None) -> list[Finding]:
        kube = Kubectl(None, namespace, f"{self.admin.namespace}/snakepit")
        return (await examine(Target("", kube=kube), pool)).findings

    async def found(self, pool: str | None = None, namespace: str | None = None) -> dict[str, Finding]:
        """By word."""
        return {each.reason: each for each in await self.doctor(pool, namespace)}


def path(each: Object) -> str:
    if each["apiVersion"] != "v1":
        return place(each).replace("policys", "policies")
    return f"/api/v1/namespaces/{each['metadata']['namespace']}/{each['kind'].lower()}s"


@contextlib.asynccontextmanager
async def operator(kube: Kube, control_plane: Running, home: str, *watched: str, image: str = "agent:1") -> AsyncIterator[Reconciler]:
    """The release's own, whose looks the test takes; it is linked to the control plane. `image`: of agents."""
    settings = Settings(namespace=home, identity="me", agent=AgentImage(image=image), watch_namespaces=watched)
    fleet = Fleet(control_plane.address, lambda pool, essential: None)
    reconciler = Reconciler(kube, settings, fleet)
    reconciler.listed({}, {}, reconciler.seen())
    async with task(fleet.run()):
        await fleet.heard.wait()
        yield reconciler
