"""What kubectl, and tools that wait, make of a pool that the operator looks after: against a real API server."""

from __future__ import annotations

import time
from typing import Any

import pytest

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused
from support.api_server import SYSTEM
from support.eventually import eventually
from support.kstatus import kstatus

FILE = """
apiVersion: snakepit.dev/v1alpha1
kind: SnakePool
metadata: {name: digits, labels: {team: vision}}
spec:
  image: example/digits:1
  worker: {adapter: "digits.tools:Digits", processes: 2}
  recycle: {maxMemory: 512Mi}
  template:
    spec:
      containers: [{name: worker, resources: {requests: {cpu: 100m}}}]
"""


@pytest.fixture
def operator(kube: Kube, admin: Admin) -> Reconciler:
    settings = Settings(namespace=SYSTEM, identity="me", agent=AgentImage(image="agent:1"), watch_namespaces=(admin.namespace,))
    return Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))


@pytest.mark.parametrize("side", [(), ("--server-side",)], ids=["client", "server"])
async def test_kubectl_diff_is_quiet_while_the_operator_writes_and_speaks_of_an_edit(
    operator: Reconciler, admin: Admin, side: tuple[str, ...]
) -> None:
    assert (await admin.kubectl("apply", *side, "-f", "-", stdin=FILE))[0] == 0
    for _ in range(3):
        await operator.reconcile(f"{admin.namespace}/digits", time.time())
        await admin.settle()
    assert await admin.kubectl("diff", *side, "-f", "-", stdin=FILE) == (0, "")
    code, said = await admin.kubectl("diff", *side, "-f", "-", stdin=FILE.replace("digits:1", "digits:2"))
    assert (code, "+  image: example/digits:2" in said) == (1, True)
    managers = {each["manager"]: each for each in (await admin.pool())["metadata"]["managedFields"]}
    ours = managers["snakepit-operator"]
    assert (ours["operation"], ours["subresource"]) == ("Apply", "status")
    assert ours["fieldsV1"].keys() == {"f:status"}, "of the spec it owns nothing"


async def test_who_waits_by_kstatus_is_told_of_an_edit_before_the_operator_has_seen_it(operator: Reconciler, admin: Admin) -> None:
    name = f"{admin.namespace}/digits"
    await admin.make_pool(replicas=1, suspended=True)
    await operator.reconcile(name, time.time())
    assert kstatus(await admin.pool()) == "InProgress", "no control plane answers"
    await admin.edit(image=None)
    assert kstatus(await admin.pool()) == "InProgress"
    await operator.reconcile(name, time.time())
    assert kstatus(await admin.pool()) == "Failed", "there is no image"


# ---- quotas of a namespace


async def test_a_namespace_has_no_more_pools_than_its_quota_allows(operator: Reconciler, admin: Admin) -> None:
    resource = "count/snakepools.snakepit.dev"

    async def allow(most: int) -> None:
        """As the controller does, which isn't here, it writes what is used, too."""
        await admin.merge(admin.path("resourcequotas", "pools"), {"spec": {"hard": {resource: str(most)}}})
        status = {"hard": {resource: str(most)}, "used": {resource: "0"}}
        await admin.merge(admin.path("resourcequotas", "pools") + "/status", {"status": status})

    async def made(name: str) -> bool:
        try:
            await admin.make_pool(name)
        except Refused:
            return False
        return True

    async def refused() -> bool:
        """Admission learns of a quota by a watch: until then anything is made."""
        if await made("early"):
            await admin.delete("snakepools", "early")
            return False
        return True

    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pools"}}
    await admin.ask("POST", admin.path("resourcequotas"), body)
    await allow(0)
    await eventually(refused, "a quota of none to hold")
    await allow(1)
    await eventually(lambda: made("first"), "a quota of one to be known")
    with pytest.raises(Refused, match=r"exceeded quota: pools, requested: count/snakepools\.snakepit\.dev=1, used: .*=1, limited: .*=1"):
        await admin.make_pool("second")
