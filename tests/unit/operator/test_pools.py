"""What any replica of the operator knows of pools: as fresh as the watch, and no more requests than changes."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from snakepit_operator import pools as pools_module
from snakepit_operator.kube import Kube, KubeError, Object, Resource
from snakepit_operator.pools import Pools
from support.pretend_api import PretendApi

NAME = "default/digits"


def raw(replicas: int = 2) -> dict[str, Any]:
    spec = {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, "replicas": replicas}
    return {"metadata": {"name": "digits", "namespace": "default", "uid": "u"}, "spec": spec}


class Counted(PretendApi):
    """`reads`: how many pools were asked for. `fault`: what every read ends with."""

    def __init__(self, *pools: Object) -> None:
        super().__init__(*pools)
        self.reads = 0
        self.fault: KubeError | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        self.reads += 1
        found = await super().get(resource, namespace, name) if self.fault is None else None
        await self.go_on.wait()
        if self.fault is not None or found is None:
            raise self.fault or AssertionError
        return found

    def scale(self, replicas: int) -> None:
        self.of("snakepools")["digits"]["spec"]["replicas"] = replicas


@pytest.fixture
def api() -> Counted:
    return Counted(raw())


@pytest.fixture
def pools(api: Counted) -> Pools:
    return Pools(cast(Kube, api), ())


async def replicas(pools: Pools) -> int:
    pool = await pools.get(NAME)
    assert pool is not None
    return pool.spec.replicas


async def test_a_pool_is_read_once_however_many_ask_until_it_changes(api: Counted, pools: Pools) -> None:
    assert await asyncio.gather(*(replicas(pools) for _ in range(20))) == [2] * 20
    api.scale(5)
    assert (await replicas(pools), api.reads) == (2, 1)
    pools.wake(NAME)
    assert (await replicas(pools), api.reads) == (5, 2)


async def test_a_change_that_the_watch_missed_is_seen_all_the_same(api: Counted, pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    await replicas(pools)
    api.scale(5)
    monkeypatch.setattr(pools_module, "KEEP_SECONDS", 0.0)
    assert await replicas(pools) == 5


async def test_who_asks_after_a_change_is_not_told_what_was_read_before_it(api: Counted, pools: Pools) -> None:
    api.go_on.clear()
    before = asyncio.create_task(replicas(pools))
    while not api.reads:
        await asyncio.sleep(0)
    api.scale(5)
    pools.wake(NAME)
    after = asyncio.create_task(replicas(pools))
    await asyncio.sleep(0)
    api.go_on.set()
    assert (await before, await after) == (2, 5)


async def test_what_is_not_there_or_can_not_be_read_is_asked_for_again(api: Counted, pools: Pools) -> None:
    assert await pools.get("default/other") is None
    assert await pools.get("default/other") is None
    assert api.reads == 2
    api.fault = KubeError(0, "Unreachable", "the API server doesn't answer")
    with pytest.raises(KubeError):
        await pools.get(NAME)
    api.fault = None
    assert await replicas(pools) == 2


async def test_one_who_goes_away_takes_the_answer_from_nobody_else(api: Counted, pools: Pools) -> None:
    api.go_on.clear()
    one, other = asyncio.create_task(replicas(pools)), asyncio.create_task(replicas(pools))
    while not api.reads:
        await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    api.go_on.set()
    assert (await other, api.reads) == (2, 1)


async def test_each_who_waits_for_a_pools_changes_is_told_and_of_no_other_pool(pools: Pools) -> None:
    with pools.changes(NAME) as one, pools.changes(NAME) as other, pools.changes("default/other") as third:
        pools.wake(NAME)
        assert (one.is_set(), other.is_set(), third.is_set()) == (True, True, False)
    pools.wake(NAME)
