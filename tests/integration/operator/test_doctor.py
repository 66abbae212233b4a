"""`snakepit doctor --kube` beside a real API server: the chart's own objects, conditions that the operator's code wrote, and kubectl.

There are no nodes: the test says how many pods are ready, and why not. Only `kubectl port-forward` needs one, and is played.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from snakepit.cli.config import Kube as Kubectl
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.examination import examine
from snakepit.cli.target import Target
from snakepit.client.findings import Finding
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.model import Creation
from snakepit_operator.pods import AgentImage, pod, pool_settings
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from support import fake_kubectl as fake
from support import stuck
from support.admin import CRD, Admin, Object, Refused, crd, namespaced, place
from support.api_server import ADMIN, TEAMS_OPERATOR, ApiServer
from support.chart import rendered
from support.control_plane import replica
from support.eventually import eventually
from support.simulated_agent import SimulatedAgent
from support.stuck import ROWS, Row
from support.tasks import task

MAY_LIST = {"": "services", "snakepit.dev": "snakepools"}
"""Of a login that may do little, and in its own namespace."""

WHAT_TO_DO = {
    "the image isn't there, or can't be pulled": "push the image, mend its name, or give imagePullSecrets",
    "the image's name is none": "mend spec.image",
    "no node has room, or suits": "ask for less in spec.template, mend its selectors and tolerations, or add a node",
    "a PersistentVolumeClaim is missing": "make the PersistentVolumeClaim",
    "a Secret or ConfigMap of a volume is missing": "make the Secret or ConfigMap",
    "a Secret or ConfigMap of `env` is missing": "make the Secret or ConfigMap",
    "the author's container ends again and again": r"`kubectl logs digits-0-\w+ -n test-\w+ -c worker --previous`",
    "the agent ends again and again": r"`kubectl logs digits-0-\w+ -n test-\w+ -c snakepit-agent --previous`",
    "`setup()` raises": "mend the adapter",
    "`setup()` hangs": "raise agent.setupTimeoutSeconds",
    "a quota is used up": "raise the quota",
    "a LimitRange forbids it": "mend resources in spec.template, by the namespace's LimitRange",
    "PodSecurity forbids it": "mend securityContext in spec.template",
    "a webhook forbids it": "do as the webhook says",
    "a webhook doesn't answer": "mend the webhook: no pod of that namespace can be made",
    "a field of `template` is unknown": "mend the field of spec.template",
    "a value in `template` is wrong": "mend the value in spec.template",
}
"""By the kinds of docs/observe.md, as patterns."""

IN_ORDER = Row("its pod runs", "LaneUnreachable", {})

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


@pytest.fixture
async def control_plane() -> AsyncIterator[Running]:
    async with replica(told=False) as running:
        yield running


@pytest.fixture
def kubectl(server: ApiServer, control_plane: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """The real one; logs in as whom the test says, and as the administrator."""
    script = tmp_path / "kubectl"
    played, real = f'{sys.executable} {fake.__file__} "$@"', f'{server.programs / "kubectl"} "$@"'
    script.write_text(
        f'#!/bin/sh\nexport KUBECONFIG="$(cat {tmp_path / "login"})"\ncase "$*" in *port-forward*) exec {played};; *) exec {real};; esac\n'
    )
    script.chmod(0o755)
    (tmp_path / "target").write_text(control_plane.address)
    monkeypatch.setenv("FAKE_KUBECTL", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("SNAKEPIT_TOKEN_FILE", "SNAKEPIT_CA_FILE"):
        monkeypatch.delenv(name, raising=False)

    def login(user: str) -> None:
        (tmp_path / "login").write_text(str(server.kubeconfig(user)))

    login(ADMIN)
    return login


@pytest.fixture
async def release(admin: Admin, kubectl: Callable[[str], None], tmp_path: Path) -> AsyncIterator[Release]:
    made = Release(admin, tmp_path)
    yield made
    await made.uninstall()


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


# ---- the release


async def test_a_release_and_a_pool_that_are_well(release: Release, admin: Admin, kube: Kube, control_plane: Running) -> None:
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    await admin.make_pool(replicas=0)
    async with operator(kube, control_plane, admin.namespace, admin.namespace) as looks:
        await looks.reconcile(f"{admin.namespace}/digits", time.time())
        # Other tests leave pools behind, which this release doesn't watch.
        (note,) = [each for each in await release.doctor() if each.reason != Code.POOL_UNWATCHED]
        assert (note.reason, note.severity) == (Code.NOT_LOOKED_AT, "note")
        assert note.message.startswith("1 of 2 replicas answered through kubectl's forwards")


async def test_parts_of_a_release_that_are_away_and_why(release: Release, admin: Admin) -> None:
    await release.install()
    for name in ("snakepit-operator", "snakepit-control-plane", "snakepit-gateway"):
        await release.say(name, 0)
    await release.say("snakepit-redis", 0, kind="StatefulSet")
    deployment = await admin.ask("GET", f"{release.path('Deployment')}/snakepit-operator")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spec = {"containers": [{"name": "operator", "image": "snakepit/operator:none"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator-0", "labels": labels}, "spec": spec}
    await admin.ask("POST", admin.path("pods"), body)
    await admin.say("operator-0", **stuck.unschedulable("0/2 nodes are available", time.time()).status)
    found = await release.found()
    assert {Code.OPERATOR_AWAY, Code.CONTROL_PLANE_AWAY, Code.GATEWAY_AWAY, Code.STORE_UNAVAILABLE} <= found.keys()
    assert "pods of Deployment" in found[Code.OPERATOR_AWAY].message
    assert "are ready (Unschedulable: 0/2 nodes are available): no capsule is made" in found[Code.OPERATOR_AWAY].message
    await admin.merge(f"{release.path('Deployment')}/snakepit-operator", {"spec": {"replicas": 0}})
    await admin.merge(f"{release.path('Deployment')}/snakepit-control-plane", {"spec": {"replicas": 3}})
    await release.say("snakepit-control-plane", 2)
    found = await release.found()
    assert "is scaled to 0" in found[Code.OPERATOR_AWAY].message
    assert f"`kubectl scale deployment snakepit-operator -n {admin.namespace} --replicas=1`" in found[Code.OPERATOR_AWAY].message
    assert found[Code.PODS_MISSING].message.startswith("2 of 3 pods of Deployment")


async def test_two_releases_that_watch_one_namespace_and_a_pool_of_the_other(
    release: Release, admin: Admin, server: ApiServer, kube: Kube, control_plane: Running
) -> None:
    await release.install()
    async with namespaced(server) as elsewhere:
        other = Release(elsewhere, release.folder)
        await other.install(f"watchNamespaces={{{admin.namespace}}}")
        await admin.make_pool(replicas=0)
        async with operator(kube, control_plane, elsewhere.namespace, admin.namespace) as theirs:
            await theirs.reconcile(f"{admin.namespace}/digits", time.time())
        found = await release.found(f"{admin.namespace}/digits")
        await other.uninstall()
        both = f"the releases {admin.namespace}/snakepit and {elsewhere.namespace}/snakepit both watch namespace {admin.namespace}"
        assert both in found[Code.TWO_RELEASES].message
        lease = f"the operator with the Lease {elsewhere.namespace}/snakepit-operator looks after it"
        assert lease in found[Code.ANOTHER_RELEASE].message


async def test_pools_that_no_operator_has_looked_at(release: Release, admin: Admin, server: ApiServer) -> None:
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    await admin.make_pool()
    async with namespaced(server) as elsewhere:
        await elsewhere.make_pool()
        found = await release.doctor()
    (unseen,) = [each for each in found if each.reason == Code.POOL_UNSEEN]
    assert unseen.about == f"{admin.namespace}/digits"
    assert "look at the operator's log" in unseen.message
    unwatched = [each.message for each in found if each.reason == Code.POOL_UNWATCHED]
    assert any(f"add {elsewhere.namespace} to watchNamespaces" in each for each in unwatched)


async def test_a_namespace_of_callers_whom_the_network_policy_does_not_let_in(release: Release, admin: Admin) -> None:
    await release.install()
    found = await release.found(namespace=admin.namespace)
    advice = f"`kubectl label namespace {admin.namespace} snakepit.dev/caller=true`"
    assert advice in found[Code.NAMESPACE_NOT_LABELLED].message
    assert found[Code.NAMESPACE_NOT_LABELLED].severity == "note"
    await admin.merge(f"/api/v1/namespaces/{admin.namespace}", {"metadata": {"labels": {"snakepit.dev/caller": "true"}}})
    assert Code.NAMESPACE_NOT_LABELLED not in await release.found(namespace=admin.namespace)


async def test_a_definition_that_is_old_and_one_that_is_missing(release: Release, admin: Admin) -> None:
    await release.install()
    own = await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
    old = copy.deepcopy(own)
    spec = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["slo"], spec["x-kubernetes-validations"]
    try:
        await admin.ask("PUT", f"{CRD}/snakepools.snakepit.dev", old)
        found = await release.found()
        assert "the CRD lacks spec.slo, which the operator knows" in found[Code.CRD_OLD].message
        await admin.ask("DELETE", f"{CRD}/snakepools.snakepit.dev")
        await eventually(lambda: _is_gone(admin), "it is gone")
        found = await release.found()
        assert "the CRD snakepools.snakepit.dev is missing" in found[Code.CRD_MISSING].message
    finally:
        if await _is_gone(admin):
            await admin.define()
        else:
            now = await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
            await admin.ask("PUT", f"{CRD}/snakepools.snakepit.dev", {**crd(), "metadata": now["metadata"]})


async def _is_gone(admin: Admin) -> bool:
    try:
        await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
    except Refused as error:
        return error.status == 404
    return False


async def test_what_a_login_may_not_look_at_is_said(release: Release, admin: Admin, kubectl: Callable[[str], None]) -> None:
    await release.install()
    kubectl(TEAMS_OPERATOR)
    found = await release.found(namespace=admin.namespace)
    assert list(found) == ["SERVER_UNAVAILABLE"]
    assert "services is forbidden" in found["SERVER_UNAVAILABLE"].message
    api, who = "rbac.authorization.k8s.io", {"kind": "User", "name": "system:serviceaccount:team:snakepit-operator"}
    rbac, name = f"/apis/{api}/v1/namespaces/{admin.namespace}", {"name": "looks-at-services"}
    rules = [{"apiGroups": [group], "resources": [kind], "verbs": ["list"]} for group, kind in MAY_LIST.items()]
    await admin.ask("POST", f"{rbac}/roles", {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": name, "rules": rules})
    binding = {"subjects": [{**who, "apiGroup": api}], "roleRef": {"apiGroup": api, "kind": "Role", **name}}
    await admin.ask("POST", f"{rbac}/rolebindings", {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": name, **binding})
    await admin.make_pool()
    findings = await release.doctor(namespace=admin.namespace)
    notes = {each.message.partition(" could not be looked at (")[0] for each in findings if each.reason == Code.NOT_LOOKED_AT}
    assert all(each.severity == "note" and "forbidden" in each.message for each in findings if each.reason == Code.NOT_LOOKED_AT)
    assert {"the CRD", "all of the release's workloads, pods and NetworkPolicies", "operators of other releases"} <= notes
    # Not those of all namespaces, and those of its own.
    assert "SnakePools" not in notes
    assert [each.about for each in findings if each.reason == Code.POOL_UNSEEN] == [f"{admin.namespace}/digits"]


# ---- pools


async def test_why_pods_do_not_get_on_is_said_with_what_to_do(
    release: Release, server: ApiServer, kube: Kube, control_plane: Running, tmp_path: Path
) -> None:
    """Each kind of docs/observe.md in a namespace of its own, as `support.stuck` has them."""
    await release.install()
    async with contextlib.AsyncExitStack() as stack:
        looks = await stack.enter_async_context(operator(kube, control_plane, release.admin.namespace))
        pools: dict[str, Row] = {}
        for number, row in enumerate(ROWS):
            admin = await stack.enter_async_context(namespaced(server))
            if row.cause is not None:
                (tmp_path / f"{number}").mkdir()
                await stack.enter_async_context(row.cause(admin, tmp_path / f"{number}"))
            pools[f"{admin.namespace}/digits"] = row
            await stack.enter_async_context(_stuck(admin, looks, control_plane, row))
        found = {each.about: each for each in await release.doctor() if each.about in pools}
    assert {name: each.reason for name, each in found.items()} == {name: row.reason for name, row in pools.items()}
    for name, row in pools.items():
        assert re.search(f"; what to do: .*{WHAT_TO_DO[row.kind]}", found[name].message), (row.kind, found[name])


async def test_capsules_that_a_network_policy_keeps_from_the_port_of_lanes(
    release: Release, admin: Admin, kube: Kube, control_plane: Running
) -> None:
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    raw = await admin.make_pool(replicas=1)
    await control_plane.lanes.stop()
    async with operator(kube, control_plane, admin.namespace, admin.namespace) as looks, contextlib.AsyncExitStack() as agents:
        await looks.reconcile(f"{admin.namespace}/digits", time.time())
        (made,) = await admin.every("pods")
        await _say(admin, made, IN_ORDER)
        await agents.enter_async_context(_dials(control_plane, made, pool_settings(pool_view(raw))))
        await eventually(lambda: _says(admin, looks, f"{admin.namespace}/digits", "LaneUnreachable"), "the operator says so")
        found = await release.found(f"{admin.namespace}/digits")
    assert f"its agent can't reach port {control_plane.lanes.port} of the control plane" in found["LaneUnreachable"].message
    assert found["LaneUnreachable"].message.endswith("what to do: let capsules dial port 7802 of the control plane")


async def test_pods_of_an_agent_that_an_upgrade_has_replaced(release: Release, admin: Admin, kube: Kube, control_plane: Running) -> None:
    """They serve on, and get the new agent when somebody restarts the pool."""
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    name = f"{admin.namespace}/digits"
    raw = await admin.make_pool(replicas=1)
    async with operator(kube, control_plane, admin.namespace, admin.namespace) as looks, contextlib.AsyncExitStack() as agents:
        await looks.reconcile(name, time.time())
        (made,) = await admin.every("pods")
        await admin.run(made["metadata"]["name"])
        agent = _agent(control_plane, made, pool_settings(pool_view(raw)))
        await agent.start()
        agents.push_async_callback(agent.stop)
        await eventually(lambda: _says(admin, looks, name, "Ready"), "it serves")
        async with operator(kube, control_plane, admin.namespace, admin.namespace, image="agent:2") as upgraded:
            await eventually(lambda: _is_outdated(admin, upgraded, name), "the upgraded operator says so")
        found = await release.found(name)
    assert found["Outdated"].severity == "note"
    assert found["Outdated"].message.endswith(": restart the pool when it suits (docs/operations.md)")


async def _is_outdated(admin: Admin, looks: Reconciler, name: str) -> bool:
    await looks.reconcile(name, time.time())
    conditions = (await admin.pool())["status"]["conditions"]
    return any(each["reason"] == "Outdated" for each in conditions)


@contextlib.asynccontextmanager
async def _dials(control_plane: Running, made: Object, settings: link_pb2.PoolSettings) -> AsyncIterator[None]:
    """The agent of that pod tries to link."""
    agent = _agent(control_plane, made, settings)
    agent.dial()
    try:
        yield
    finally:
        await agent.stop()


def _agent(control_plane: Running, made: Object, settings: link_pb2.PoolSettings) -> SimulatedAgent:
    """Of that pod."""
    name, pool = made["metadata"]["name"], f"{made['metadata']['namespace']}/digits"
    return SimulatedAgent(control_plane.address, name, pool, settings=settings, pod_uid=made["metadata"]["uid"])


@contextlib.asynccontextmanager
async def _stuck(admin: Admin, looks: Reconciler, control_plane: Running, row: Row) -> AsyncIterator[None]:
    """A new pool whose only pod is as the row has it, and the operator has said so."""
    name, agents = f"{admin.namespace}/digits", contextlib.AsyncExitStack()
    raw = await admin.make_pool(**{"replicas": 1, **row.edit})
    if row.cause is not None:
        probe = pod(pool_view(raw), Creation("probe", 9, "t"), AgentImage(image="agent:1"))
        await eventually(lambda: _refused(admin, probe), "admission refuses pods")
    async with agents:
        await looks.reconcile(name, time.time())
        for each in await admin.every("pods"):
            await _say(admin, each, row)
            if row.worker:
                one = _agent(control_plane, each, pool_settings(pool_view(raw)))
                one.state, one.reason, one.message = 1, row.reason, row.worker  # type: ignore[assignment]
                await one.start()
                agents.push_async_callback(one.stop)
        await eventually(lambda: _says(admin, looks, name, row.reason), f"{row.kind}: the operator says so")
        yield


async def _refused(admin: Admin, body: Object) -> bool:
    try:
        await admin.ask("POST", admin.path("pods") + "?dryRun=All", body)
    except Refused as error:
        return error.status in (403, 422, 500)
    return False


async def _say(admin: Admin, each: Object, row: Row) -> None:
    name, said = each["metadata"]["name"], stuck.not_warm(time.time()) if row.pod is None else row.pod(time.time(), 4)
    if "startTime" in said.status:
        await admin.bind(name)
    await admin.say(name, **said.status)
    if said.failed_mount:
        about = {"apiVersion": "v1", "kind": "Pod", "name": name, "namespace": admin.namespace, "uid": each["metadata"]["uid"]}
        told = {"type": "Warning", "reason": "FailedMount", "message": said.failed_mount, "lastTimestamp": stuck.stamp(time.time())}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{name}.0"}, "involvedObject": about, **told}
        await admin.ask("POST", admin.path("events"), event)


async def _says(admin: Admin, looks: Reconciler, name: str, reason: str) -> bool:
    await looks.reconcile(name, time.time() + 20.0)
    return await admin.reason() == reason
