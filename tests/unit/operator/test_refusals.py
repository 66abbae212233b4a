"""What the API server refuses is said once, announced never, and asked for ever less often."""

from __future__ import annotations

from typing import Any, cast

import pytest

from snakepit_operator.apply import Applier
from snakepit_operator.decide import RETRY_SECONDS, Refusal
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import POOLS, Kube, KubeError, Resource
from snakepit_operator.model import Creation, Deletion, Plan
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.operator_world import START, pool
from support.pretend_api import TERMINATING, PretendApi

QUOTA = KubeError(403, "Forbidden", 'pods "digits-0" is forbidden: exceeded quota')
POOL = "default/digits"


def raw(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "digits", "namespace": "default", "uid": "pool-uid", "generation": 1}
    return {"metadata": metadata, "spec": {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, **spec}}


def reconciler(api: PretendApi) -> Reconciler:
    settings = Settings(namespace="snakepit-system", identity="me", agent=AgentImage(image="agent:1", control_plane="127.0.0.1:1"))
    return Reconciler(cast(Kube, api), settings, Fleet("127.0.0.1:1", lambda pool, essential: None))


class _Keeps(PretendApi):
    """`keeps`: it can delete nothing now."""

    keeps = True

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "", grace: int | None = None) -> None:
        if self.keeps:
            raise KubeError(500, "InternalError", "etcdserver: leader changed")
        await super().delete(resource, namespace, name, uid, grace)


async def test_no_pod_takes_the_place_of_one_that_could_not_be_deleted() -> None:
    api = _Keeps(raw(replicas=2))
    creation, deletion = Creation("digits-0-b", 0, "t"), Deletion("digits-0-a", "uid", "RollingOut")
    with pytest.raises(KubeError):
        await Applier(cast(Kube, api), AgentImage(image="agent:1")).carry_out(pool(), Plan(creations=(creation,), deletions=(deletion,)))
    assert api.of("pods") == {}


async def test_what_was_drained_for_a_deletion_that_failed_is_replaced_although_it_is_wanted_again() -> None:
    api = _Keeps(raw(replicas=2))
    operator = reconciler(api)
    await operator.reconcile(POOL, START)
    before = {each["metadata"]["uid"]: name for name, each in api.of("pods").items()}
    await api.merge(POOLS, "default", "digits", {"spec": {"replicas": 1}})
    with pytest.raises(KubeError):
        await operator.reconcile(POOL, START)
    assert len(api.of("pods")) == 2
    await api.merge(POOLS, "default", "digits", {"spec": {"replicas": 2}})
    for _ in range(2):  # It is asked for until it is done, and nothing comes in its place before.
        with pytest.raises(KubeError):
            await operator.reconcile(POOL, START)
    assert len(api.of("pods")) == 2
    api.keeps = False
    await operator.reconcile(POOL, START)
    pods = {each["metadata"]["uid"] for each in api.of("pods").values()}
    assert (len(pods), len(pods & before.keys())) == (2, 1)
    await operator.reconcile(POOL, START)
    assert {each["metadata"]["uid"] for each in api.of("pods").values()} == pods


async def test_another_spec_is_asked_for_at_once() -> None:
    api = PretendApi(raw(replicas=1))
    api.refuse = QUOTA
    operator = reconciler(api)
    await operator.reconcile(POOL, START)
    api.refuse = None
    api.of("snakepools")["digits"]["metadata"]["generation"] = 2
    await operator.reconcile(POOL, START)
    assert len(api.of("pods")) == 1
    assert ("Normal", "CapsulesCreated") in api.told()


async def test_in_a_namespace_that_is_being_deleted_nothing_is_made_and_nothing_said() -> None:
    api = PretendApi(raw(replicas=2))
    operator = reconciler(api)
    await operator.reconcile(POOL, START)
    before = dict(api.asked)
    api.refuse = api.refuse_events = TERMINATING
    for name in list(api.of("pods")):
        api.of("pods").pop(name)
        assert await operator.reconcile(POOL, START) is None, "nobody has to look again"
    assert api.asked["pods"] == before["pods"] + 1, "the first one that went was asked for once"
    assert api.asked["events"] == before["events"]


async def test_a_pool_of_that_name_in_a_new_namespace_is_another_one() -> None:
    api = PretendApi(raw(replicas=1))
    api.refuse = TERMINATING
    operator = reconciler(api)
    await operator.reconcile(POOL, START)
    api.refuse = None
    api.of("snakepools")["digits"]["metadata"]["uid"] = "another"
    await operator.reconcile(POOL, START)
    assert len(api.of("pods")) == 1


def test_each_refusal_in_a_row_is_held_longer_up_to_a_bound() -> None:
    refusal, pauses = None, []
    for _ in range(9):
        refusal = Refusal.after(refusal, 1, START, ("PodRefused", "no"))
        pauses.append(refusal.until - START)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == RETRY_SECONDS[1]


def test_a_refusal_ends_with_its_time_and_is_of_one_spec() -> None:
    refusal = Refusal.after(None, 1, START, ("PodRefused", "no"))
    assert refusal.holds(1, START + 0.9)
    assert not refusal.holds(1, START + 1.0)
    assert not refusal.holds(2, START)
    assert Refusal.after(refusal, 2, START, ("PodRefused", "no")).attempt == 0


@pytest.mark.parametrize(("error", "refused", "ending"), [(QUOTA, True, False), (TERMINATING, False, True)])
def test_a_namespace_that_ends_is_no_refusal_like_others(error: KubeError, refused: bool, ending: bool) -> None:
    assert (error.refused, error.ending) == (refused, ending)
