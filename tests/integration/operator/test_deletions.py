"""Pool, namespace, chart and CRD, or some of them, are deleted in each order there is: nothing hangs, nothing of ours is left.

The garbage collector and the namespaces' end are those of the real kube-controller-manager; the test is kubelet and control plane.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from support.admin import CRD, Admin, Refused, namespaced
from support.api_server import OPERATOR, SYSTEM, ApiServer
from support.eventually import eventually
from support.go_tools import BUILD_SECONDS

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 200)

COLLECTED_SECONDS = 100.0
"""The garbage collector looks for new kinds of objects, and for those that are no more, each half a minute."""
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/snakepit-operator"


@pytest.fixture(autouse=True)
async def controllers(server: ApiServer, admin: Admin) -> AsyncIterator[None]:
    """At work for the test alone; what all tests share is there again afterwards."""
    lease = await admin.ask("GET", LEASE)
    server.control("garbage-collector-controller", "namespace-controller")
    yield
    server.uncontrolled()
    await admin.define()
    metadata = {key: lease["metadata"][key] for key in ("name", "namespace", "labels")}
    await admin.ask("POST", LEASE.rpartition("/")[0], {**lease, "metadata": metadata})


class Unheard(Fleet):
    """A control plane that is down, as it is while the chart goes, and where its Redis is."""

    async def run(self) -> None:
        self.heard.set()
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def installed(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The chart: an operator that works, until it is uninstalled."""
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(OPERATOR)))
    kube = await Kube.connect()
    settings = Settings(namespace=SYSTEM, identity="me", agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1"))
    controller = Controller(kube, settings, fleet=lambda tell, short: Unheard("127.0.0.1:1", tell))
    running = asyncio.create_task(controller.run())
    try:
        yield
        assert not running.done(), "the operator has ended"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await kube.close()


async def two_run(admin: Admin) -> bool:
    await admin.settle()
    return len(await admin.every("pods")) == 2


async def delete(admin: Admin, what: str) -> None:
    """As `kubectl delete --wait=false`: what has gone with something else is no failure."""
    path = admin.pools_path("digits") if what == "pool" else f"/api/v1/namespaces/{admin.namespace}"
    try:
        await admin.ask("DELETE", path)
    except Refused as error:
        if error.status != 404:
            raise


async def left(admin: Admin, order: tuple[str, ...]) -> list[str]:
    """What is there still after those deletions, and one look of the kubelets."""
    with contextlib.suppress(Refused):  # What is going already takes no new word.
        await admin.settle()
    paths = (admin.path("pods"), admin.pools_path(), f"/apis/policy/v1/namespaces/{admin.namespace}/poddisruptionbudgets")
    found: list[str] = []
    for path in paths:
        with contextlib.suppress(Refused):
            found += [f"{path}/{each['metadata']['name']}" for each in (await admin.ask("GET", path))["items"]]
    with contextlib.suppress(Refused):
        await admin.ask("GET", f"/api/v1/namespaces/{admin.namespace}")
        found += [admin.namespace] if "namespace" in order else []
    return found


@pytest.mark.parametrize("globals_", [("chart", "crd"), ("crd", "chart")], ids=["the chart before the CRD", "the CRD before the chart"])
async def test_pool_namespace_chart_and_crd_or_some_of_them_go_in_each_order(
    server: ApiServer, globals_: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [("pool", "namespace"), ("pool",), ("namespace",), ()]
    orders = [
        order for some in own for order in itertools.permutations((*some, *globals_)) if order.index(globals_[0]) < order.index(globals_[1])
    ]
    async with contextlib.AsyncExitStack() as stack, contextlib.AsyncExitStack() as chart:
        await chart.enter_async_context(installed(server, monkeypatch))
        spaces = {order: await stack.enter_async_context(namespaced(server)) for order in orders}
        for admin in spaces.values():
            await admin.make_pool(replicas=2)
        for admin in spaces.values():
            await eventually(lambda admin=admin: two_run(admin), "two capsules run", 60.0)
        for what in (*globals_, None):
            for order, admin in spaces.items():
                steps = itertools.takewhile(lambda each, what=what: each != what, order)
                for step in steps:
                    if step in ("pool", "namespace"):
                        await delete(admin, step)
            if what == "chart":
                await chart.aclose()
                await admin.ask("DELETE", LEASE)
            elif what == "crd":
                await admin.ask("DELETE", f"{CRD}/snakepools.snakepit.dev")

        async def gone() -> bool:
            return not [each for order, admin in spaces.items() for each in await left(admin, order)]

        await eventually(gone, "nothing is left", COLLECTED_SECONDS)
        assert not [each["metadata"]["name"] for each in (await admin.ask("GET", CRD))["items"]]
