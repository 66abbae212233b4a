"""Two releases that watch one namespace: each pool is one's, both say so, and neither fights."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import LEASES, Kube, KubeError, Object, Resource
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler, Seen
from snakepit_operator.settings import Settings
from support.operator_world import START
from support.pretend_api import PretendApi

POOL = "default/digits"


def raw() -> dict[str, Any]:
    metadata = {"name": "digits", "namespace": "default", "uid": "pool-uid", "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, "replicas": 1}}


def installed(api: PretendApi, name: str) -> Settings:
    """Of the operator of a release that is installed: its Lease is there."""
    api.of("leases", name)[f"{name}-operator"] = {}
    agent = AgentImage(image=f"agent:{name}", control_plane="127.0.0.1:1")
    return Settings(namespace=name, identity="me", agent=agent, lease_name=f"{name}-operator")


def release(api: PretendApi, name: str) -> Reconciler:
    return Reconciler(cast(Kube, api), installed(api, name), Fleet("127.0.0.1:1", lambda pool, essential: None))


def mark(api: PretendApi) -> str:
    return str(api.of("snakepools")["digits"]["status"]["release"])


async def test_the_first_one_has_the_pool_and_the_other_leaves_it_alone_and_says_whose_it_is() -> None:
    api = PretendApi(raw())
    one, other = release(api, "one"), release(api, "other")
    await one.reconcile(POOL, START)
    before = dict(api.of("pods")), dict(api.of("snakepools")["digits"]["status"])
    for _ in range(3):
        assert await other.reconcile(POOL, START) is None
    assert (dict(api.of("pods")), dict(api.of("snakepools")["digits"]["status"])) == before
    assert mark(api) == "one/one-operator"
    (said,) = [each for each in api.of("events").values() if each["reason"] == "AnotherRelease"]
    assert said["type"] == "Warning"
    assert "one/one-operator looks after this pool, the one with other/other-operator leaves it alone" in said["message"]
    await one.reconcile(POOL, START)
    assert mark(api) == "one/one-operator"


async def test_the_other_ones_control_plane_hears_nothing_of_it() -> None:
    api = PretendApi(raw())
    one, other = release(api, "one"), release(api, "other")
    other.listed({POOL: raw()}, {}, Seen())
    assert other.fleet.pools == {POOL}, "it is nobody's yet"
    await one.reconcile(POOL, START)
    await other.reconcile(POOL, START)
    assert other.fleet.pools == set()


async def test_when_its_release_is_uninstalled_the_other_takes_over_without_touching_its_pods() -> None:
    api = PretendApi(raw())
    one, other = release(api, "one"), release(api, "other")
    await one.reconcile(POOL, START)
    pods = set(api.of("pods"))
    del api.of("leases", "one")["one-operator"]
    await other.reconcile(POOL, START)
    assert mark(api) == "other/other-operator"
    assert set(api.of("pods")) == pods
    await one.reconcile(POOL, START)
    assert mark(api) == "other/other-operator", "and it is the other's from then on"


async def test_of_two_that_begin_at_once_one_gets_it() -> None:
    api = PretendApi(raw())
    both = [release(api, name) for name in ("one", "other")]
    outcomes = await asyncio.gather(*(each.reconcile(POOL, START) for each in both), return_exceptions=True)
    assert [each for each in outcomes if isinstance(each, BaseException) and not getattr(each, "conflict", False)] == []
    winner = mark(api)
    for each in both:
        await each.reconcile(POOL, START)
    assert mark(api) == winner
    assert len(api.of("pods")) == 1


class Closed(PretendApi):
    """`leases`: what whoever asks for one is answered with."""

    leases: KubeError | None = None

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        if resource is LEASES and self.leases is not None:
            raise self.leases
        return await super().get(resource, namespace, name)


@pytest.mark.parametrize("answer", [KubeError(403, "Forbidden", "no"), KubeError(0, "Unreachable", "no answer")])
async def test_a_release_that_can_t_be_asked_for_keeps_its_pools(answer: KubeError) -> None:
    api = Closed(raw())
    one, other = release(api, "one"), release(api, "other")
    await one.reconcile(POOL, START)
    api.leases = answer
    if answer.refused:
        await other.reconcile(POOL, START)
    else:
        with pytest.raises(KubeError):
            await other.reconcile(POOL, START)
    assert mark(api) == "one/one-operator"
