"""What a settled pool costs: it is listed with all others, and read by itself only where something has changed or is to be done."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import PODS, POOLS, Kube, Object
from snakepit_operator.model import CapsuleView, FleetView
from snakepit_operator.pods import POOL_LABEL, AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.operator_world import START
from support.pretend_api import NAMESPACE, PretendApi

NAME = f"{NAMESPACE}/digits"
POOL: Object = {
    "metadata": {"name": "digits", "namespace": NAMESPACE, "uid": "uid-digits", "generation": 1},
    "spec": {"image": "i", "worker": {"adapter": "digits.tools:Digits"}, "replicas": 2},
}


class Counting(PretendApi):
    """`counted`: what was asked."""

    def __init__(self, *pools: Object) -> None:
        super().__init__(*pools)
        self.counted: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name in ("get", "list", "create", "delete", "apply", "apply_status", "merge_status"):
            self.counted[name] += 1
        return super().__getattribute__(name)


class Plane(Fleet):
    """Whatever pods there are serve."""

    def __init__(self, api: PretendApi) -> None:
        super().__init__("127.0.0.1:1", lambda pool, essential: None)
        self._api = api
        self.queued = 0

    def view(self, pool: str) -> FleetView:
        pods = [each["metadata"] for each in self._api.of("pods").values()]
        capsules = {each["name"]: CapsuleView(name=each["name"], pod_uid=each["uid"], live=True, ready_workers=1) for each in pods}
        return FleetView(available=True, capsules=capsules, held_generation=1, queue_depth=self.queued)

    async def flushed(self, timeout: float) -> bool:
        return True


class World:
    """One settled pool, of which all was listed."""

    def __init__(self) -> None:
        self.api = Counting(POOL)
        self.plane = Plane(self.api)
        settings = Settings(namespace="system", identity="me", agent=AgentImage(image="agent:1"))
        self.operator = Reconciler(cast(Kube, self.api), settings, self.plane)

    async def settled(self) -> World:
        await self.list()
        for _ in range(2):
            await self.operator.reconcile(NAME, START)
            for each in self.api.of("pods").values():
                state: Object = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
                each.update(status=state, spec={**each["spec"], "nodeName": "n"})
        await self.list()
        await self.operator.reconsider(NAME, START)
        self.api.counted.clear()
        return self

    async def list(self) -> None:
        """A resync."""
        before = self.operator.seen()
        pools = dict(zip([NAME], await self.api.list(POOLS, None), strict=True))
        self.operator.listed(pools, {NAME: await self.api.list(PODS, None, POOL_LABEL)}, before)

    def version(self) -> str:
        return str(self.api.of("snakepools")["digits"]["metadata"]["resourceVersion"])

    async def look(self) -> Counter[str]:
        """What a look has asked."""
        self.api.counted.clear()
        await self.operator.reconsider(NAME, START + 1)
        return +self.api.counted


async def test_a_settled_pool_costs_nothing_beside_the_lists_of_all() -> None:
    world = await World().settled()
    for _ in range(3):
        await world.list()
        assert await world.look() == Counter()


async def test_a_change_of_a_pod_is_looked_at() -> None:
    world = await World().settled()
    world.operator.snapshots.changed(NAME, "")
    assert await world.look() == {"get": 1, "list": 1}
    assert await world.look() == Counter(), "and once"


async def test_a_count_that_the_control_plane_says_is_written_without_reading_and_its_echo_is_no_news() -> None:
    world = await World().settled()
    world.plane.queued = 7
    assert await world.look() == {"apply_status": 1}
    assert world.api.of("snakepools")["digits"]["status"]["queueDepth"] == 7
    world.operator.snapshots.changed(NAME, world.version())
    assert await world.look() == Counter()


async def test_what_somebody_edits_is_read_though_a_write_of_ours_comes_between() -> None:
    world = await World().settled()
    pool = world.api.of("snakepools")["digits"]
    await world.api.merge(POOLS, NAMESPACE, "digits", {"spec": {**pool["spec"], "replicas": 3}})
    world.plane.queued = 7
    assert (await world.look())["create"] >= 1, "the write is refused, for the pool is another, and it is read"
    assert len(world.api.of("pods")) == 3


@pytest.mark.parametrize("harm", ["a pod is gone", "one more is wanted"])
async def test_nothing_is_done_before_it_was_read(harm: str) -> None:
    """What a list said may be so no more: here somebody else has put it right meanwhile."""
    world = await World().settled()
    pods, pool = world.api.of("pods"), world.api.of("snakepools")["digits"]
    kept = dict(pods)
    if harm == "a pod is gone":
        pods.popitem()
        await world.list()
        pods.update(kept)
    else:
        pool["spec"]["replicas"] = 3
        await world.list()
        pool["spec"]["replicas"] = 2
    asked = await world.look()
    assert (asked["get"], asked["list"], asked["create"], asked["delete"]) == (1, 1, 0, 0)


async def test_what_was_read_while_everything_is_listed_is_as_new() -> None:
    world = await World().settled()
    before = world.operator.seen()
    pools = dict(zip([NAME], await world.api.list(POOLS, None), strict=True))
    world.api.of("snakepools")["digits"]["spec"]["replicas"] = 3
    await world.operator.reconcile(NAME, START)
    await world.operator.reconcile(NAME, START)
    world.operator.listed(pools, {NAME: []}, before)
    assert await world.look() == Counter(), "the list had no pods"
