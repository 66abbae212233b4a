"""kopf's watch: it says whose turn it is, whatever becomes of its connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from snakepit._names import new_id
from snakepit_operator import wake as wake_module
from snakepit_operator.kube import Kube
from snakepit_operator.pools import Pools
from snakepit_operator.wake import watch, watch_forever
from support.admin import Admin
from support.api_server import ApiServer
from support.eventually import eventually
from support.gate import Gate
from support.tasks import task

SOON = 10.0
"""Long before a resync would come round."""


MOST_REFUSED = 10
"""Requests that kopf begins at one time, before it knows that its token is refused."""


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

    async def by(self, pool: str, happen: Callable[[], Any]) -> set[str]:
        """Whose turn it is after something has happened, as soon as it is that pool's."""
        self.clear()
        await happen()
        async with asyncio.timeout(SOON):
            while pool not in self:
                self.came.clear()
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


async def test_each_change_of_a_pool_or_of_its_pods_wakes_it(admin: Admin, door: Gate) -> None:
    await admin.make_pool()
    woken, name, other = Woken(), f"{admin.namespace}/digits", f"{admin.namespace}/other"
    async with task(watch((admin.namespace,), woken)):
        await waking(admin, woken)
        assert await woken.by(name, lambda: admin.edit(replicas=7)) == {name}
        labels = {"snakepit.dev/pool": "digits"}
        spec = {"containers": [{"name": "worker", "image": "i"}]}

        def make(pod: str, **metadata: Any) -> Any:
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, **metadata}, "spec": spec}
            return lambda: admin.ask("POST", admin.path("pods"), body)

        assert await woken.by(name, make("ours", labels=labels)) == {name}
        assert await woken.by(name, lambda: admin.run("ours")) == {name}
        assert await woken.by(name, lambda: admin.delete("pods", "ours", gracePeriodSeconds=0)) == {name}
        await make("foreign")()
        await admin.run("foreign")
        # Of what was said of the first one, each word may come as late as it likes.
        assert await woken.by(other, lambda: admin.make_pool("other")) - {name} == {other}, "a pod of nobody's wakes nobody"
        assert await woken.by(other, lambda: admin.delete("snakepools", "other")) - {name} == {other}


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
        assert await woken.by(name, lambda: admin.edit(replicas=7)) == {name}


async def test_a_watch_that_ends_is_begun_again(admin: Admin, door: Gate, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kopf whose token nobody knows ends, and does not ask with it again and again."""
    monkeypatch.setattr(wake_module, "RESTART_SECONDS", 0.1)
    good = os.environ["KUBECONFIG"]
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig("nobody")))
    begun, codes = list[int](), list[int]()

    async def once_more() -> None:
        begun.append(len(begun))
        if len(begun) == 2:
            monkeypatch.setenv("KUBECONFIG", good)

    await admin.make_pool()
    woken = Woken()
    async with task(watch_forever((admin.namespace,), woken, once_more, tell=lambda verb, resource, code, seconds: codes.append(code))):
        await waking(admin, woken)
    assert len(begun) > 1
    assert 1 <= codes.count(401) <= MOST_REFUSED


async def test_only_pods_of_pools_are_watched(admin: Admin, door: Gate, server: ApiServer) -> None:
    await admin.make_pool()
    woken = Woken()
    async with task(watch((admin.namespace,), woken)):
        await waking(admin, woken)

        async def watched() -> list[str]:
            return [each for each in server.watches() if f"{admin.namespace}/pods?" in each]

        for each in await eventually(watched, "the watch of pods is written down"):
            assert "labelSelector=snakepit.dev/pool" in each
