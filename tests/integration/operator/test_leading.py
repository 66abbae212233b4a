"""A leading operator as a whole, but for its process: the watch wakes it, pools converge, and outages end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from snakepit_control_plane.server import Running
from snakepit_operator import controller as controller_module
from snakepit_operator import wake as wake_module
from snakepit_operator.controller import Controller
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.settings import Settings
from support.admin import CRD, Admin, Refused
from support.api_server import SYSTEM, ApiServer
from support.control_plane import replica
from support.eventually import eventually
from support.gate import Gate
from support.tasks import task

NEVER = 600.0
"""Long after any of these tests."""


async def is_gone(admin: Admin, version: str) -> bool:
    """Whether a watch that begins there is told so."""
    url = f"{admin.pools_path()}?watch=1&resourceVersion={version}&timeoutSeconds=5"
    first = await admin.first_line(url)
    return first.get("object", first).get("code") == 410


@pytest.fixture
async def control_plane() -> AsyncIterator[Running]:
    async with replica(told=False) as running:
        yield running


@pytest.fixture
def settings(admin: Admin, control_plane: Running) -> Settings:
    agent = AgentImage(image="agent:1", control_plane=control_plane.address)
    return Settings(namespace=SYSTEM, identity="me", agent=agent, watch_namespaces=(admin.namespace,))


@pytest.fixture
async def leader(kube: Kube, settings: Settings) -> Controller:
    return Controller(kube, settings)


@pytest.fixture
async def blind(kube: Kube, settings: Settings) -> Controller:
    """A leader that nothing but its own loop wakes."""

    async def see_nothing(namespaces: object, on_wake: object, until_listed: Callable[[], Awaitable[None]]) -> None:
        await until_listed()
        await asyncio.Event().wait()

    return Controller(kube, settings, watching=see_nothing)


@pytest.fixture
def no_resync(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing but the watch can have woken anybody."""
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", NEVER)


async def converged(admin: Admin, count: int, without: str = "") -> None:
    """Kubelets at work, until the status says that so many are ready, and no others (nor that uid) are there."""

    async def look() -> bool:
        await admin.settle()
        pool = await admin.pool()
        status = pool.get("status") or {}
        wanted = {"observedGeneration": pool["metadata"]["generation"], "replicas": count, "readyReplicas": count, "updatedReplicas": count}
        uids = [each["metadata"]["uid"] for each in await admin.every("pods")]
        return len(uids) == count and without not in uids and all(status.get(key) == value for key, value in wanted.items())

    await eventually(look, f"{count} capsules")


async def test_a_pool_is_made_edited_and_deleted_and_the_pods_follow(
    leader: Controller, admin: Admin, control_plane: Running, no_resync: None
) -> None:
    async with task(leader.run()):
        await admin.make_pool(replicas=3)
        await converged(admin, 3)
        await admin.edit(replicas=5)
        await converged(admin, 5)
        await admin.edit(replicas=2)
        await converged(admin, 2)
        await admin.edit(image="example/digits:2")
        await converged(admin, 2)
        assert {each["spec"]["containers"][0]["image"] for each in await admin.every("pods")} == {"example/digits:2"}
        await admin.edit(suspended=True)
        await converged(admin, 0)
        assert await admin.reason() == "Suspended"
        await admin.edit(suspended=False)
        await converged(admin, 2)
        await admin.delete("snakepools", "digits")
        await eventually(lambda: forgotten(leader, control_plane), "the pool is forgotten")


async def forgotten(leader: Controller, control_plane: Running) -> bool:
    reconciler = leader.reconciler
    return not reconciler.memories and not control_plane.flow.pools


async def test_a_pod_that_fails_or_that_somebody_deletes_is_replaced(leader: Controller, admin: Admin, no_resync: None) -> None:
    async with task(leader.run()):
        await admin.make_pool(replicas=2)
        await converged(admin, 2)
        first, second = [each["metadata"] for each in await admin.every("pods")]
        await admin.say(first["name"], phase="Failed", reason="Evicted", message="The node was low on resource: memory.")
        await converged(admin, 2, without=first["uid"])
        await admin.delete("pods", second["name"])
        await converged(admin, 2, without=second["uid"])

        async def told() -> bool:
            return any("low on resource" in each["message"] for each in await admin.every("events") if each["reason"] == "CapsulesDeleted")

        await eventually(told, "an Event says why it was replaced")  # It is written after the status.


async def test_an_outage_of_the_api_server_ends_and_what_was_missed_is_made_up_for(
    leader: Controller, admin: Admin, server: ApiServer, door: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new API server remembers no changes from before: a watch from there is answered with 410 Gone. Pods that went while nobody
    watched are in no event, but are missed by a look.
    """
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", 3.0)
    async with task(leader.run()):
        await admin.make_pool(replicas=3)
        await converged(admin, 3)
        before = (await admin.pool())["metadata"]["resourceVersion"]
        await door.shut()
        await asyncio.to_thread(server.down)
        await asyncio.to_thread(server.up)
        await eventually(lambda: is_gone(admin, before), "the place of the watch is gone")
        for each in (await admin.every("pods"))[:2]:
            await admin.delete("pods", each["metadata"]["name"], gracePeriodSeconds=0)
        await admin.edit(replicas=4)
        await door.open()
        await converged(admin, 4)
        monkeypatch.setattr(controller_module, "RESYNC_SECONDS", NEVER)
        await admin.edit(replicas=2)
        await converged(admin, 2)  # by the watch, again


async def test_what_no_watch_tells_is_found_by_a_resync(
    blind: Controller, admin: Admin, control_plane: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", 0.5)
    async with task(blind.run()):
        await admin.make_pool(replicas=2)
        await converged(admin, 2)
        await admin.edit(replicas=1)
        await converged(admin, 1)
        await admin.delete("snakepools", "digits")
        await eventually(lambda: forgotten(blind, control_plane), "the pool is forgotten")


async def test_what_was_refused_is_tried_again_though_nobody_tells_of_anything(blind: Controller, admin: Admin, no_resync: None) -> None:
    limits = {"limits": [{"type": "Container", "min": {"memory": "1Gi"}}]}
    small = {"spec": {"containers": [{"name": "worker", "resources": {"requests": {"memory": "2Mi"}}}]}}
    metadata = {"name": "large"}
    await admin.ask("POST", admin.path("limitranges"), {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": limits})
    await admin.make_pool(replicas=1, template=small)

    async def refused() -> bool:
        return await admin.reason() == "PodRefused"

    async with task(blind.run()):
        await eventually(refused, "the pod is refused")
        await admin.ask("DELETE", admin.path("limitranges", "large"))
        await eventually(lambda: admin.every("pods"), "the pod is made")


async def test_a_resync_that_fails_is_not_the_last_one(
    blind: Controller, admin: Admin, door: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", 0.2)

    async def failed() -> bool:
        return "pools could not be listed" in caplog.text

    await admin.make_pool(replicas=1)
    async with task(blind.run()):
        await converged(admin, 1)
        await door.shut()
        await eventually(failed, "a resync fails")
        await door.open()
        await admin.edit(replicas=2)
        await converged(admin, 2)


async def budgets(admin: Admin) -> list[str]:
    path = f"/apis/policy/v1/namespaces/{admin.namespace}/poddisruptionbudgets"
    return [each["metadata"]["name"] for each in (await admin.ask("GET", path))["items"]]


async def take_budget(admin: Admin) -> None:
    """As the garbage collector does, when its pool is gone."""
    for name in await budgets(admin):
        await admin.ask("DELETE", f"/apis/policy/v1/namespaces/{admin.namespace}/poddisruptionbudgets/{name}")


async def test_a_pool_that_a_resync_misses_is_forgotten_and_one_of_its_name_begins_anew(
    blind: Controller, admin: Admin, control_plane: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "RESYNC_SECONDS", 0.2)
    await admin.make_pool(replicas=0)
    async with task(blind.run()):
        await eventually(lambda: budgets(admin), "it has a budget")
        await admin.delete("snakepools", "digits")
        await take_budget(admin)
        await eventually(lambda: forgotten(blind, control_plane), "the pool is forgotten")
        await admin.make_pool(replicas=0)
        await eventually(lambda: budgets(admin), "it has a budget again")


async def test_a_pool_that_was_made_anew_between_two_looks_has_its_budget_too(leader: Controller, admin: Admin) -> None:
    """Its generation is that of the one before."""
    name = f"{admin.namespace}/digits"
    for _ in range(2):
        await admin.make_pool(replicas=0)
        await leader.reconciler.reconcile(name, time.time())
        assert await budgets(admin) == ["digits-capsules"]
        await admin.delete("snakepools", "digits")
        await take_budget(admin)


# ---- the definition of pools


@pytest.fixture
async def undefined(admin: Admin) -> AsyncIterator[None]:
    """No CRD; it is there again for the next test."""
    await take_away(admin)
    yield
    with contextlib.suppress(Refused):
        await admin.define()


async def take_away(admin: Admin) -> None:
    async def gone() -> bool:
        with contextlib.suppress(Refused):
            await admin.ask("GET", admin.pools_path())
            return False
        return True

    await admin.ask("DELETE", f"{CRD}/snakepools.snakepit.dev")
    await eventually(gone, "SnakePools are no more")


async def test_an_operator_that_is_there_before_the_definition_watches_when_that_comes(
    leader: Controller, admin: Admin, undefined: None, no_resync: None
) -> None:
    async with task(leader.run()):
        await asyncio.sleep(0)
        await admin.define()
        await admin.make_pool(replicas=1)
        await converged(admin, 1)
        await admin.edit(replicas=3)
        await converged(admin, 3)


async def test_an_operator_lives_on_when_the_definition_is_deleted_and_comes_back(
    leader: Controller, admin: Admin, undefined: None, no_resync: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake_module, "RESTART_SECONDS", 0.5)
    await admin.define()
    async with task(leader.run()):
        await admin.make_pool(replicas=1)
        await converged(admin, 1)
        await take_away(admin)
        for each in await admin.every("pods"):
            await admin.delete("pods", each["metadata"]["name"], gracePeriodSeconds=0)
        await admin.define()
        await admin.make_pool(replicas=2)
        await converged(admin, 2)
        await admin.edit(replicas=3)
        await converged(admin, 3)
