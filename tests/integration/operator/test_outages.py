"""An API server that is away or remembers less, and operators that end between any two of their requests: nothing that works is harmed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from snakepit_operator import controller as controller_module
from snakepit_operator import leases as leases_module
from snakepit_operator.controller import Controller
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube, Object, Resource
from snakepit_operator.main import Operator
from snakepit_operator.model import CapsuleView, FleetView
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import CRD, Admin, crd
from support.api_server import SYSTEM, ApiServer
from support.eventually import eventually
from support.tasks import task

LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/snakepit-operator"
NEVER = 600.0


@pytest.fixture
def settings(admin: Admin) -> Settings:
    agent = AgentImage(image="agent:1", control_plane="127.0.0.1:1")
    return Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=(admin.namespace,), health="127.0.0.1:0")


class Heard(Fleet):
    """Of a control plane that says of each pod that runs that it serves: what the operator has heard is the test's word."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", lambda pool, essential: None)
        self.heard.set()
        self.serving: dict[str, CapsuleView] = {}

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def flushed(self, timeout: float) -> bool:
        return True

    def view(self, pool: str) -> FleetView | None:
        return FleetView(available=bool(self.serving), ready_workers=len(self.serving), capsules=dict(self.serving))

    async def look(self, admin: Admin) -> None:
        self.serving = {
            each["metadata"]["name"]: CapsuleView(
                name=each["metadata"]["name"], pod_uid=each["metadata"]["uid"], live=True, ready_workers=1
            )
            for each in await admin.every("pods")
            if ready(each)
        }


def ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return "deletionTimestamp" not in pod["metadata"] and any(each["type"] == "Ready" for each in conditions)


def image(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


async def uids(admin: Admin) -> set[str]:
    return {each["metadata"]["uid"] for each in await admin.every("pods")}


async def converge(admin: Admin, fleet: Heard, count: int, of: str = "example/digits:1") -> set[str]:
    """Kubelets and the control plane at work, until all that is there is as it should be."""

    async def look() -> bool:
        await admin.settle()
        await fleet.look(admin)
        pool, pods = await admin.pool(), await admin.every("pods")
        status, generation = pool.get("status") or {}, pool["metadata"]["generation"]
        good = [each for each in pods if ready(each) and image(each) == of]
        told = [status.get(each) for each in ("observedGeneration", "replicas", "readyReplicas", "updatedReplicas")]
        return len(good) == len(pods) == count and told == [generation, count, count, count]

    await eventually(look, f"{count} capsules of {of}", 60.0)
    return await uids(admin)


@contextlib.asynccontextmanager
async def leading(kube: Kube, settings: Settings, fleet: Heard) -> AsyncIterator[Controller]:
    controller = Controller(kube, settings, fleet=lambda tell, short: fleet)
    async with task(controller.run()):
        yield controller


async def resynced(controller: Controller) -> None:
    """It has begun to list everything once more; by the time that the next listing begins, it knows the API server's version of now."""
    for _ in range(2):
        beat = controller.beat
        await eventually(lambda beat=beat: controller.beat != beat, "everything is listed")  # type: ignore[misc]


@pytest.fixture
def fleet() -> Heard:
    return Heard()


# ---- the API server and its store


async def test_an_older_state_of_everything_that_was_restored_is_what_the_operator_goes_by_and_what_it_watches(
    admin: Admin,
    server: ApiServer,
    kube: Kube,
    settings: Settings,
    fleet: Heard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Versions go back: who watches from one that isn't reached yet is told of nothing."""
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", 2.0)
    async with leading(kube, settings, fleet) as controller:
        await admin.make_pool(replicas=3)
        before = await converge(admin, fleet, 3)
        kept = await asyncio.to_thread(server.snapshot)
        await admin.edit(replicas=5)
        await converge(admin, fleet, 5)
        gone = sorted(before)[0]
        (name,) = [each["metadata"]["name"] for each in await admin.every("pods") if each["metadata"]["uid"] == gone]
        await admin.delete("pods", name)
        for number in range(3, 60):  # so that versions are far behind afterwards
            await admin.merge(admin.pools_path("digits"), {"metadata": {"annotations": {"number": str(number)}}})
        await converge(admin, fleet, 5)
        await resynced(controller)
        await asyncio.to_thread(server.restore, kept)
        # The pods of then are there again, and those that were made since are not: the kubelets would end them.
        assert await converge(admin, fleet, 3) == before
        await eventually(lambda: "versions go back" in caplog.text, "it is noticed")
        monkeypatch.setattr(controller_module, "RESYNC_SECONDS", NEVER)
        await asyncio.sleep(2.5)  # The last resync has come round.
        await admin.edit(replicas=4)
        assert before < await converge(admin, fleet, 4)  # by the watch


async def test_an_api_server_that_is_away_for_longer_than_the_lease_costs_no_capsule(
    admin: Admin, server: ApiServer, kube: Kube, settings: Settings, fleet: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes, on clocks that run faster: what a leader may do without it, what a lease lasts, and how often it is tried."""
    for name, seconds in (("LEASE_SECONDS", 2), ("RENEW_SECONDS", 1.0), ("RETRY_SECONDS", 0.2)):
        monkeypatch.setattr(leases_module, name, seconds)
    monkeypatch.setattr("snakepit_operator.main.Controller", lambda kube, settings, **_: Controller(kube, settings, fleet=lambda *_: fleet))
    await admin.ask("PUT", LEASE, {**await admin.ask("GET", LEASE), "spec": {}})
    operator, stop = Operator(kube, settings), asyncio.Event()
    running = asyncio.create_task(operator.run(stop))
    try:
        await admin.make_pool(replicas=3)
        before = await converge(admin, fleet, 3)
        await asyncio.to_thread(server.down)
        await eventually(lambda: not operator.leads, "it leads no more")
        await asyncio.sleep(3.0)
        await asyncio.to_thread(server.up)
        await eventually(lambda: operator.leads, "it leads again")
        await admin.edit(replicas=4)
        assert before < await converge(admin, fleet, 4)
    finally:
        stop.set()
        await running


async def test_a_definition_that_is_replaced_rolls_nothing_and_the_watch_goes_on(
    admin: Admin, kube: Kube, settings: Settings, fleet: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `helm upgrade` does it, with pools stored by the one before."""
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", NEVER)
    async with leading(kube, settings, fleet):
        await admin.make_pool(replicas=2)
        before = await converge(admin, fleet, 2)
        await admin.edit(replicas=4)
        newer = crd()
        (version,) = newer["spec"]["versions"]
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["novelty"] = {"type": "string", "default": "new"}
        await admin.merge(f"{CRD}/{newer['metadata']['name']}", {"spec": newer["spec"]})
        try:

            async def defined() -> bool:
                return (await admin.pool())["spec"].get("novelty") == "new"

            await eventually(defined, "the new definition is served")
            assert before < await converge(admin, fleet, 4)
            await admin.edit(replicas=3)
            assert len(before & await converge(admin, fleet, 3)) == 2
        finally:
            await admin.merge(f"{CRD}/{newer['metadata']['name']}", {"spec": crd()["spec"]})


# ---- an operator that ends


class Killed(BaseException):
    """Nothing of the operator's is done after it."""


class Mortal:
    """A Kube that ends its operator before its request number `at`, which is after the one before."""

    def __init__(self, kube: Kube, at: int) -> None:
        self._kube, self._left = kube, at
        self.dead = False

    def __getattr__(self, verb: str) -> Any:
        ask = getattr(self._kube, verb)

        async def request(resource: Resource, *arguments: Any, **named: Any) -> Any:
            self._left -= 1
            self.dead = self._left <= 0
            if self.dead:
                raise Killed
            return await ask(resource, *arguments, **named)

        return request


class Change:
    """A pool of two capsules that is edited, and what must hold meanwhile."""

    def __init__(self, admin: Admin, settings: Settings, fleet: Heard) -> None:
        self.admin, self._settings, self._fleet = admin, settings, fleet
        self.wanted, self.newest, self.most = 2, "example/digits:1", 3

    async def edit(self, **spec: Any) -> None:
        self.wanted, self.newest = spec.get("replicas", self.wanted), spec.get("image", self.newest)
        self.most = max(self.wanted, 2) + ("image" in spec)
        await self.admin.edit(**spec)

    async def carry_out(self, kube: Any) -> None:
        """By one operator, until it is killed or nothing is left to do."""
        reconciler = Reconciler(kube, self._settings, self._fleet)
        for _ in range(12):
            with contextlib.suppress(Killed):
                await reconciler.reconcile(f"{self.admin.namespace}/digits", time.time())
            pods = [each for each in await self.admin.every("pods") if "deletionTimestamp" not in each["metadata"]]
            assert len(pods) <= self.most, f"{len(pods)} pods"
            assert sum(map(ready, pods)) >= 2, "too few serve"
            await self.admin.settle()
            await self._fleet.look(self.admin)
            if getattr(kube, "dead", False) or await self._is_done():
                return

    async def _is_done(self) -> bool:
        pods, pool = await self.admin.every("pods"), await self.admin.pool()
        told = [pool["status"].get(each) for each in ("observedGeneration", "readyReplicas", "updatedReplicas")]
        good = [image(each) for each in pods] == [self.newest] * self.wanted
        return good and told == [pool["metadata"]["generation"], self.wanted, self.wanted]

    async def end(self, kube: Kube) -> None:
        """By a successor that lives."""
        await self.carry_out(kube)
        assert await self._is_done(), "it doesn't converge"


@pytest.fixture
async def change(admin: Admin, kube: Kube, settings: Settings, fleet: Heard) -> Change:
    await admin.make_pool(replicas=2, rollout={"maxSurge": 1, "maxUnavailable": 0})
    made = Change(admin, settings, fleet)
    for _ in range(2):
        await Reconciler(kube, settings, fleet).reconcile(f"{admin.namespace}/digits", time.time())
        await admin.settle()
        await fleet.look(admin)
    return made


async def test_an_operator_that_is_killed_at_any_request_of_a_scale_up_deletes_nothing_and_its_successor_ends_it(
    change: Change, kube: Kube
) -> None:
    for at in itertools.count(1):
        before = await uids(change.admin)
        await change.edit(replicas=4)
        await change.carry_out(mortal := Mortal(kube, at))
        await change.end(kube)
        assert before <= await uids(change.admin), f"killed at request {at}: one that works is gone"
        if not mortal.dead:
            break
        await change.edit(replicas=2)
        await change.end(kube)
    assert at > 8, "a scale-up has more requests"


async def test_an_operator_that_is_killed_at_any_request_of_a_rollout_leaves_enough_that_serve_and_its_successor_ends_it(
    change: Change, kube: Kube
) -> None:
    for at in itertools.count(1):
        await change.edit(image=f"example/digits:{at + 1}")
        await change.carry_out(mortal := Mortal(kube, at))
        await change.end(kube)
        if not mortal.dead:
            break
    assert at > 15, "a rollout has more requests"
