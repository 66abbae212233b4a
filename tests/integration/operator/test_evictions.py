"""What a drain of a node may take of a pool, by the word of Kubernetes' own disruption controller: one capsule, also the only one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused
from support.api_server import SYSTEM, ApiServer
from support.eventually import eventually


@pytest.fixture
def disruptions(server: ApiServer) -> Iterator[None]:
    server.control("disruption-controller")
    yield
    server.uncontrolled()


async def budget(admin: Admin) -> dict[str, Any]:
    path = f"/apis/policy/v1/namespaces/{admin.namespace}/poddisruptionbudgets/digits-capsules"
    return dict((await admin.ask("GET", path)).get("status") or {})


async def evicted(admin: Admin, pod: str) -> bool:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": admin.namespace}}
    try:
        await admin.ask("POST", admin.path("pods", pod) + "/eviction", body)
    except Refused as error:
        if error.status != 429:
            raise
        return False
    return True


@pytest.mark.parametrize(
    ("spec", "pods"),
    [
        ({"replicas": 0}, 0),
        ({"replicas": 1}, 1),
        ({"replicas": 3}, 3),
        ({"replicas": 9, "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}, 1),
        ({"replicas": 9, "autoscaling": {"minReplicas": 2, "maxReplicas": 3}}, 2),
    ],
    ids=["of none", "of one", "of three", "of one, sized by demand", "of two, sized by demand"],
)
async def test_a_pool_always_lets_one_capsule_go_and_no_more(
    kube: Kube, admin: Admin, disruptions: None, spec: dict[str, Any], pods: int
) -> None:
    agent = AgentImage(image="agent:1", control_plane="127.0.0.1:1")
    settings = Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=(admin.namespace,))
    operator = Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
    await admin.make_pool(**spec)
    for _ in range(2):
        await operator.reconcile(f"{admin.namespace}/digits", time.time())
        await admin.settle()
    names = [each["metadata"]["name"] for each in await admin.every("pods")]
    assert len(names) == pods

    async def is_known() -> bool:
        status = await budget(admin)
        return "observedGeneration" in status and (status["currentHealthy"], status["disruptionsAllowed"]) == (pods, min(1, pods))

    await eventually(is_known, "the budget is reckoned", 30)
    assert [await evicted(admin, each) for each in names] == [number == 0 for number in range(pods)]
