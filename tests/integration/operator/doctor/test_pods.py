"""What `snakepit doctor --kube` says of pools whose pods don't get on, don't link, or have an agent of before an upgrade."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_operator.kube import Kube
from snakepit_operator.model import Creation
from snakepit_operator.pods import AgentImage, pod, pool_settings
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.views import pool_view
from support import stuck
from support.admin import Admin, Object, Refused, namespaced
from support.api_server import ApiServer
from support.chart_release import Release, operator
from support.eventually import eventually
from support.simulated_agent import SimulatedAgent
from support.stuck import ROWS, Row

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
