"""The NetworkPolicy of capsules, one for all pools of a namespace, against a real API server and with the chart's rights."""

from __future__ import annotations

import time

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube, Object
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused, rights
from support.api_server import SYSTEM

SPEC = {
    "podSelector": {"matchExpressions": [{"key": "snakepit.dev/pool", "operator": "Exists"}]},
    "policyTypes": ["Ingress", "Egress"],
    "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}],
}
NAMED: Object = {"metadata": {"name": "snakepit-capsules"}}
WITHOUT = "networkPolicy.enabled=false"


def operator(kube: Kube, admin: Admin, policy: Object) -> Reconciler:
    """One that has just begun, with this setting."""
    agent, watched = AgentImage(image="agent:1"), (admin.namespace,)
    settings = Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=watched, capsule_policy=policy)
    return Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))


async def found(admin: Admin) -> Object | None:
    try:
        return await admin.ask("GET", f"/apis/networking.k8s.io/v1/namespaces/{admin.namespace}/networkpolicies/snakepit-capsules")
    except Refused as error:
        if error.status == 404:
            return None
        raise


def version(written: Object) -> int:
    """It grows with every write of anything."""
    return int(written["metadata"]["resourceVersion"])


async def test_it_is_there_before_the_first_capsule_and_goes_with_the_last_pool_or_with_the_setting(admin: Admin, kube: Kube) -> None:
    await admin.make_pool("digits")
    await operator(kube, admin, {**NAMED, "spec": SPEC}).reconcile(f"{admin.namespace}/digits", time.time())
    made = await found(admin)
    assert made is not None
    assert made["spec"] == SPEC
    assert all(version(made) < version(pod) for pod in await admin.every("pods"))

    widened = {**SPEC, "egress": [{}]}
    await admin.make_pool("others")
    await operator(kube, admin, {**NAMED, "spec": widened}).reconcile(f"{admin.namespace}/others", time.time())
    made = await found(admin)
    assert made is not None
    assert made["spec"] == widened
    # Whom garbage collection takes it away with.
    assert sorted(each["name"] for each in made["metadata"]["ownerReferences"]) == ["digits", "others"]

    for each in rights(admin.server.programs / "helm", SYSTEM, WITHOUT, f"watchNamespaces={{{admin.namespace}}}"):
        if each["metadata"].get("namespace") == admin.namespace and each["metadata"]["name"] == "snakepit-operator":
            plural = each["kind"].lower() + "s"
            await admin.ask("POST", f"/apis/{each['apiVersion']}/namespaces/{admin.namespace}/{plural}", each)
    for name in ("digits", "others"):
        await operator(kube, admin, NAMED).reconcile(f"{admin.namespace}/{name}", time.time())
    assert await found(admin) is None
