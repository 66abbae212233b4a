"""A leading operator as a whole, but for its process: kopf's watch wakes it, pools converge, and outages end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from snakepit._names import new_id
from snakepit_control_plane.server import Running
from snakepit_operator import controller as controller_module
from snakepit_operator import wake as wake_module
from snakepit_operator.controller import Controller
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.pools import Pools
from snakepit_operator.settings import Settings
from snakepit_operator.wake import watch, watch_forever
from support.api_server import CRD, SYSTEM, Admin, ApiServer, Refused, eventually
from support.control_plane import replica
from support.gate import Gate
from support.tasks import task

SOON = 10.0
"""Long before a resync would come round."""
NEVER = 600.0


class Woken(list[str]):
    """Pools whose turn it is, as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.came = asyncio.Event()

    def __call__(self, pool: str, version: str) -> None:
        """That everything is listed anew, as at the start, is nobody's turn."""
        if pool:
            self.append(pool)
            self.came.set()

    async def by(self, happen: Callable[[], Any], *, seconds: float = SOON) -> set[str]:
        """Whose turn it is after something has happened."""
        self.clear()
        self.came.clear()
        await happen()
        async with asyncio.timeout(seconds):
            await self.came.wait()
        return set(self)


async def at_once() -> None:
    """Pools are defined."""


async def waking(admin: Admin, woken: Woken) -> None:
    """Until the watch stands: what is there is told as soon as it does."""

    async def nudge() -> bool:
        await admin.merge(admin.pools_path("digits"), {"metadata": {"annotations": {"nudge": new_id()}}})
        await asyncio.sleep(0.1)
        return bool(woken)

    await eventually(nudge, "the watch wakes somebody")


# ---- the watch alone


async def test_each_change_of_a_pool_or_of_its_pods_wakes_it(admin: Admin, door: Gate) -> None:
    await admin.make_pool()
    woken, name = Woken(), f"{admin.namespace}/digits"
    async with task(watch((admin.namespace,), woken)):
        await waking(admin, woken)
        assert await woken.by(lambda: admin.edit(replicas=7)) == {name}
        labels = {"snakepit.dev/pool": "digits"}
        spec = {"containers": [{"name": "worker", "image": "i"}]}

        def make(pod: str, **metadata: Any) -> Any:
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, **metadata}, "spec": spec}
            return lambda: admin.ask("POST", admin.path("pods"), body)

        assert await woken.by(make("ours", labels=labels)) == {name}
        assert await woken.by(lambda: admin.run("ours")) == {name}
        assert await woken.by(lambda: admin.delete("pods", "ours", gracePeriodSeconds=0)) == {name}
        woken.clear()
        await make("foreign")()
        await admin.run("foreign")
        assert await woken.by(lambda: admin.make_pool("other")) == {f"{admin.namespace}/other"}, "a pod of nobody's wakes nobody"
        assert await woken.by(lambda: admin.delete("snakepools", "other")) == {f"{admin.namespace}/other"}


async def test_a_watch_leaves_no_trace_on_what_it_watches(admin: Admin, door: Gate) -> None:
    await admin.make_pool()
    woken = Woken()
    async with task(watch((admin.namespace,), woken)):
        await waking(admin, woken)
    metadata = (await admin.pool())["metadata"]
    assert metadata["annotations"].keys() == {"nudge"}
    assert "finalizers" not in metadata
    assert await admin.every("events") == []


async def test_what_is_known_of_a_pool_follows_its_changes_without_the_lead(admin: Admin, door: Gate, kube: Kube) -> None:
    pools, name = Pools(kube, (admin.namespace,)), f"{admin.namespace}/digits"

    async def replicas() -> int | None:
        pool = await pools.get(name)
        return None if pool is None else pool.spec.replicas

    async with task(pools.run()):
        assert await replicas() is None
        await admin.make_pool(replicas=1)
        await eventually(lambda: replicas(), "it is there")
        for wanted in range(2, 6):
            with pools.changes(name) as changed:
                await admin.edit(replicas=wanted)
                async with asyncio.timeout(SOON):
                    while await replicas() != wanted:
                        await changed.wait()
                        changed.clear()
        await admin.delete("snakepools", "digits")
        await eventually(lambda: gone(replicas), "it has gone")


async def gone(replicas: Callable[[], Awaitable[int | None]]) -> bool:
    return await replicas() is None


async def test_a_watch_whose_connections_break_goes_on(admin: Admin, door: Gate) -> None:
    await admin.make_pool()
    woken, name = Woken(), f"{admin.namespace}/digits"
    async with task(watch_forever((admin.namespace,), woken, at_once)):
        await waking(admin, woken)
        await door.shut()
        await door.open()
        woken.clear()
        await waking(admin, woken)
        assert await woken.by(lambda: admin.edit(replicas=7)) == {name}


async def test_a_watch_that_ends_is_begun_again(admin: Admin, door: Gate, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kopf whose token nobody knows ends."""
    monkeypatch.setattr(wake_module, "RESTART_SECONDS", 0.1)
    good = os.environ["KUBECONFIG"]
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig("nobody")))
    begun: list[int] = []

    async def once_more() -> None:
        begun.append(len(begun))
        if len(begun) == 2:
            monkeypatch.setenv("KUBECONFIG", good)

    await admin.make_pool()
    woken = Woken()
    async with task(watch_forever((admin.namespace,), woken, once_more)):
        await waking(admin, woken)
    assert len(begun) > 1


async def test_only_pods_of_pools_are_watched(admin: Admin, door: Gate, server: ApiServer) -> None:
    await admin.make_pool()
    woken = Woken()
    async with task(watch((admin.namespace,), woken)):
        await waking(admin, woken)

        async def watched() -> list[str]:
            return [each for each in server.watches() if f"{admin.namespace}/pods?" in each]

        for each in await eventually(watched, "the watch of pods is written down"):
            assert "labelSelector=snakepit.dev/pool" in each


async def is_gone(admin: Admin, version: str) -> bool:
    """Whether a watch that begins there is told so."""
    url = f"{admin.pools_path()}?watch=1&resourceVersion={version}&timeoutSeconds=5"
    first = await admin.first_line(url)
    return first.get("object", first).get("code") == 410


# ---- the loop


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
