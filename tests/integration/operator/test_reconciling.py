"""One look at a pool after another, against a real API server: what is made, refused, written and told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from snakepit_operator import kube as kube_module
from snakepit_operator.apply import Applier
from snakepit_operator.decide import BUDGET_SECONDS
from snakepit_operator.events import NewEvent
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import PODS, POOLS, Kube, KubeError
from snakepit_operator.leases import holder
from snakepit_operator.model import Creation, Deletion, Plan, Reason
from snakepit_operator.observe import Found
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from support.admin import Admin
from support.api_server import SYSTEM
from support.gate import Gate
from support.operator_world import observe

AGENT = AgentImage(image="agent:1", control_plane="127.0.0.1:1")
"""Nobody listens there: the control plane is unknown."""


@pytest.fixture
def operator(kube: Kube, admin: Admin) -> Reconciler:
    settings = Settings(namespace=SYSTEM, identity="me", agent=AGENT, watch_namespaces=(admin.namespace,))
    return Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))


@pytest.fixture
def name(admin: Admin) -> str:
    return f"{admin.namespace}/digits"


@pytest.fixture
def applier(kube: Kube) -> Applier:
    return Applier(kube, AGENT)


def names(objects: list[dict[str, Any]]) -> set[str]:
    return {each["metadata"]["name"] for each in objects}


def told(events: list[dict[str, Any]]) -> list[str]:
    return sorted(each["reason"] for each in events)


def condition(pool: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [each for each in pool["status"]["conditions"] if each["type"] == kind]
    return dict(found)


# ---- pods


async def test_a_pool_gets_its_pods_once_however_often_it_is_looked_at(operator: Reconciler, admin: Admin, name: str) -> None:
    pool = await admin.make_pool(replicas=3)
    for _ in range(3):
        await operator.reconcile(name, time.time())
    pods = await admin.every("pods")
    assert len(pods) == 3
    assert {each["metadata"]["ownerReferences"][0]["uid"] for each in pods} == {pool["metadata"]["uid"]}
    assert {each["metadata"]["labels"]["snakepit.dev/ordinal"] for each in pods} == {"0", "1", "2"}


async def test_a_second_operator_that_saw_the_same_makes_nothing_twice(
    applier: Applier, admin: Admin, operator: Reconciler, name: str
) -> None:
    pool = pool_view(await admin.make_pool(replicas=1))
    todo = Plan(creations=(Creation("digits-0-same", 0, "t", avoid=("dead", "gone")),))
    first, second = await applier.carry_out(pool, todo), await applier.carry_out(pool, todo)
    assert [len(each.created) for each in (first, second)] == [1, 0]
    assert second.refusal is None
    assert len(await admin.every("pods")) == 1


@pytest.mark.parametrize("owners", [[], ["another"]], ids=["nobodys", "of a pool of that name that is gone"])
async def test_pods_that_are_not_the_pools_are_neither_counted_nor_deleted(
    operator: Reconciler, admin: Admin, name: str, owners: list[str]
) -> None:
    await admin.make_pool(replicas=1)
    await operator.reconcile(name, time.time())
    (ours,) = await admin.every("pods")
    references = [{**ours["metadata"]["ownerReferences"][0], "uid": uid} for uid in owners]
    metadata = {"name": "foreign", "labels": ours["metadata"]["labels"], "ownerReferences": references}
    spec = {"containers": [{"name": "worker", "image": "i"}]}
    await admin.ask("POST", admin.path("pods"), {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    await admin.run("foreign")
    await admin.edit(suspended=True)
    for _ in range(2):
        await operator.reconcile(name, time.time())
    assert names(await admin.every("pods")) == {"foreign"}
    status = (await admin.pool())["status"]
    assert (status["replicas"], status["readyReplicas"]) == (0, 0)


async def test_only_the_very_pod_that_was_decided_about_is_deleted(applier: Applier, admin: Admin, operator: Reconciler, name: str) -> None:
    pool = pool_view(await admin.make_pool(replicas=1))
    await operator.reconcile(name, time.time())
    (pod,) = await admin.every("pods")
    short = pod["metadata"]["name"]
    await applier.carry_out(pool, Plan(deletions=(Deletion(short, "its-predecessor", Reason.POD_FAILED),)))
    assert names(await admin.every("pods")) == {short}
    await applier.carry_out(pool, Plan(deletions=(Deletion(short, pod["metadata"]["uid"], Reason.POD_FAILED),)))
    assert await admin.every("pods") == []
    # And one that has gone meanwhile is no failure.
    await applier.carry_out(pool, Plan(deletions=(Deletion(short, pod["metadata"]["uid"], Reason.POD_FAILED),)))


async def test_a_pool_with_an_edited_template_rolls_and_one_that_is_deleted_is_left_to_the_garbage_collector(
    operator: Reconciler, admin: Admin, name: str
) -> None:
    await admin.make_pool(replicas=2)
    await operator.reconcile(name, time.time())
    before = names(await admin.every("pods"))
    await admin.edit(image="example/digits:2")
    for _ in range(6):
        await operator.reconcile(name, time.time())
        await admin.settle()
    pods = await admin.every("pods")
    assert names(pods).isdisjoint(before)
    assert {each["spec"]["containers"][0]["image"] for each in pods} == {"example/digits:2"}
    await admin.delete("snakepools", "digits")
    assert await operator.reconcile(name, time.time()) is None
    assert names(await admin.every("pods")) == names(pods)


async def test_a_pool_that_is_going_gets_no_more_pods(operator: Reconciler, admin: Admin, name: str) -> None:
    await admin.make_pool(replicas=1)
    await admin.merge(admin.pools_path("digits"), {"metadata": {"finalizers": ["example.com/hold"]}})
    await admin.delete("snakepools", "digits")
    assert await operator.reconcile(name, time.time()) is None
    assert await admin.every("pods") == []
    await admin.merge(admin.pools_path("digits"), {"metadata": {"finalizers": None}})  # Or pools could not be undefined in a later test.


async def test_a_pod_that_somebody_evicts_is_no_deletion_of_ours(
    operator: Reconciler, applier: Applier, admin: Admin, kube: Kube, name: str
) -> None:
    await admin.make_pool(replicas=2)
    await operator.reconcile(name, time.time())
    await admin.settle()
    first, second = sorted(names(await admin.every("pods")))
    await admin.delete("pods", first)
    pool = pool_view(await admin.pool())
    deletion = Deletion(second, await uid(admin, second), Reason.ROLLING_OUT)
    await applier.carry_out(pool, Plan(deletions=(deletion,)))
    pods = await observe(kube, AGENT, pool, {deletion.uid: deletion.reason}, time.time())
    assert {each.name: (each.deleting, each.evicted) for each in pods} == {first: (True, True), second: (True, False)}


async def uid(admin: Admin, pod: str) -> str:
    return str((await admin.ask("GET", admin.path("pods", pod)))["metadata"]["uid"])


# ---- refusals


def security(admin: Admin) -> Callable[[], Any]:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return lambda: admin.merge(f"/api/v1/namespaces/{admin.namespace}", {"metadata": {"labels": labels}})


async def test_pods_of_ours_are_allowed_where_only_restricted_ones_may_run(operator: Reconciler, admin: Admin, name: str) -> None:
    await security(admin)()
    await admin.make_pool(replicas=1)
    await operator.reconcile(name, time.time())
    assert len(await admin.every("pods")) == 1


async def test_what_is_no_refusal_is_a_failure_of_the_look(applier: Applier, admin: Admin, door: Gate) -> None:
    """Taken for done, the pods would not come, and nobody would look again."""
    pool = pool_view(await admin.make_pool(replicas=1))
    await door.shut()
    with pytest.raises(KubeError) as caught:
        await applier.carry_out(pool, Plan(creations=(Creation("digits-0-x", 0, "t"),)))
    assert caught.value.code == 0
    with pytest.raises(KubeError):
        await applier.carry_out(pool, Plan(deletions=(Deletion("digits-0-x", "u", Reason.POD_FAILED),)))


async def test_a_failure_is_not_hidden_by_a_refusal_beside_it(applier: Applier, admin: Admin) -> None:
    pool = pool_view(await admin.make_pool(replicas=1))
    elsewhere = msgspec.structs.replace(pool, metadata=msgspec.structs.replace(pool.metadata, namespace="not-there"))
    refused, failing = Creation("Not_A_Name", 0, "t"), Creation("digits-0-x", 0, "t")
    assert (await applier.carry_out(pool, Plan(creations=(refused,)))).refusal is not None
    with pytest.raises(KubeError) as caught:
        await applier.carry_out(elsewhere, Plan(creations=(refused, failing)))
    assert caught.value.missing


async def test_in_a_namespace_that_is_being_deleted_nothing_more_is_asked_for(operator: Reconciler, admin: Admin, name: str) -> None:
    await admin.make_pool(replicas=1)
    await operator.reconcile(name, time.time())
    (pod,) = await admin.every("pods")
    await admin.ask("DELETE", f"/api/v1/namespaces/{admin.namespace}")
    await admin.delete("pods", pod["metadata"]["name"])
    before = told(await admin.every("events"))
    for _ in range(2):
        assert await operator.reconcile(name, time.time()) is None
    assert await admin.every("pods") == []
    assert told(await admin.every("events")) == before


# ---- status, budget, events


async def test_the_status_is_written_when_it_differs_and_only_then(operator: Reconciler, applier: Applier, admin: Admin, name: str) -> None:
    await admin.make_pool(replicas=1)
    await operator.reconcile(name, time.time())
    await admin.settle()
    await operator.reconcile(name, time.time())
    settled = await admin.pool()
    assert (settled["status"]["readyReplicas"], settled["status"]["desiredReplicas"]) == (1, 1)
    assert settled["metadata"]["generation"] == settled["status"]["observedGeneration"] == 1
    await operator.reconcile(name, time.time())
    assert (await admin.pool())["metadata"]["resourceVersion"] == settled["metadata"]["resourceVersion"]
    pool, version = pool_view(settled), settled["metadata"]["resourceVersion"]
    assert pool.status is not None
    assert not await applier.status(Found(pool, settled["status"], version), pool.status), "the API server was asked in vain"
    assert await applier.status(Found(pool, {}, version), pool.status)


async def test_the_status_of_a_pool_that_is_gone_is_not_that_of_a_new_one_of_its_name(
    operator: Reconciler, applier: Applier, admin: Admin, name: str
) -> None:
    await admin.make_pool(replicas=1)
    await operator.reconcile(name, time.time())
    before = await admin.pool()
    await admin.delete("snakepools", "digits")
    await admin.make_pool(replicas=2)
    pool = pool_view(before)
    assert pool.status is not None
    with pytest.raises(KubeError) as caught:
        await applier.status(Found(pool, {}, before["metadata"]["resourceVersion"]), pool.status)
    assert caught.value.conflict
    assert "status" not in await admin.pool()


async def test_a_field_that_is_no_more_known_goes_from_the_status(operator: Reconciler, admin: Admin, name: str) -> None:
    await admin.make_pool(replicas=1)
    await admin.merge(admin.pools_path("digits") + "/status", {"status": {"workers": 7, "queueDepth": 9}})
    await operator.reconcile(name, time.time())
    assert not (await admin.pool())["status"].keys() & {"workers", "queueDepth"}


async def test_what_an_earlier_version_wrote_by_patches_goes_when_it_is_so_no_more(
    operator: Reconciler, admin: Admin, kube: Kube, name: str
) -> None:
    condition = {"type": "Former", "status": "True", "reason": "Test", "message": "", "lastTransitionTime": "2026-11-29T00:00:00Z"}
    await admin.make_pool(replicas=1)
    await kube.merge_status(POOLS, admin.namespace, "digits", {"status": {"reason": "Ready", "workers": 7, "conditions": [condition]}})
    await operator.reconcile(name, time.time())
    found = await admin.pool()
    assert "workers" not in found["status"]
    assert "Former" not in {each["type"] for each in found["status"]["conditions"]}
    versions = []
    for _ in range(2):
        await operator.reconcile(name, time.time())
        versions.append((await admin.pool())["metadata"]["resourceVersion"])
    assert versions[0] == versions[1]


async def test_a_look_at_a_state_that_is_no_more_does_not_claim_the_pool(operator: Reconciler, admin: Admin, kube: Kube) -> None:
    before = await admin.make_pool(replicas=1)
    await admin.edit(replicas=2)
    with pytest.raises(KubeError) as caught:
        await holder(kube, "me", Found(pool_view(before), {}, before["metadata"]["resourceVersion"]))
    assert caught.value.conflict


async def test_the_budget_is_as_it_should_be_whoever_else_writes_into_it(operator: Reconciler, admin: Admin, name: str) -> None:
    await admin.make_pool(replicas=2)
    await operator.reconcile(name, time.time())
    path = f"/apis/policy/v1/namespaces/{admin.namespace}/poddisruptionbudgets/digits-capsules"
    made = await admin.ask("GET", path)
    assert made["spec"]["maxUnavailable"] == 1
    await admin.merge(path, {"spec": {"maxUnavailable": 2}})
    await operator.reconcile(name, time.time() + BUDGET_SECONDS + 1)
    after = await admin.ask("GET", path)
    assert after["spec"]["maxUnavailable"] == 1
    assert {each["operation"] for each in after["metadata"]["managedFields"] if each["manager"] == "snakepit-operator"} == {"Apply"}


async def test_what_happens_once_is_told_once_and_what_happens_again_is_the_same_event(
    operator: Reconciler, applier: Applier, admin: Admin, name: str
) -> None:
    await admin.make_pool(replicas=1)
    for _ in range(3):
        await operator.reconcile(name, time.time())
    (created,) = [each for each in await admin.every("events") if each["reason"] == "CapsulesCreated"]
    assert (created["count"], created["type"]) == (1, "Normal")
    pool = await admin.pool()
    assert created["involvedObject"]["uid"] == pool["metadata"]["uid"]
    again = NewEvent(created["type"], created["reason"], created["message"])
    for _ in range(2):
        await applier.tell(pool_view(pool), [again])
    (thrice,) = [each for each in await admin.every("events") if each["reason"] == "CapsulesCreated"]
    assert thrice["count"] == 3


# ---- the client


async def test_a_list_of_many_pages_is_whole(kube: Kube, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube_module, "PAGE", 2)
    for number in range(5):
        await admin.make_pool(f"digits-{number}")
    assert names(await kube.list(POOLS, admin.namespace)) == {f"digits-{number}" for number in range(5)}
    assert names(await kube.list(POOLS, admin.namespace, fields="metadata.name=digits-3")) == {"digits-3"}
    await admin.merge(admin.pools_path("digits-4"), {"metadata": {"labels": {"team": "a"}}})
    assert names(await kube.list(POOLS, admin.namespace, "team=a")) == {"digits-4"}


async def test_each_no_of_the_api_server_is_told_from_the_others(kube: Kube, admin: Admin, door: Gate) -> None:
    pool = await admin.make_pool()

    async def caught(action: Any) -> KubeError:
        with pytest.raises(KubeError) as info:
            await action
        return info.value

    def kinds(error: KubeError) -> tuple[int, set[str]]:
        return error.code, {each for each in ("missing", "exists", "conflict", "refused", "ending") if getattr(error, each)}

    body = {"apiVersion": pool["apiVersion"], "kind": "SnakePool", "metadata": {"name": "digits"}, "spec": pool["spec"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    assert kinds(await caught(kube.get(POOLS, admin.namespace, "nobody"))) == (404, {"missing"})
    assert kinds(await caught(kube.create(POOLS, admin.namespace, body))) == (403, {"refused"})
    assert kinds(await caught(kube.create(PODS, admin.namespace, pod))) == (422, {"refused"})
    pod["spec"] = {"containers": [{"name": "worker", "image": "i"}]}
    await kube.create(PODS, admin.namespace, pod)
    assert kinds(await caught(kube.create(PODS, admin.namespace, pod))) == (409, {"exists"})
    await admin.edit(replicas=9)
    stale = kube.apply_status(POOLS, admin.namespace, "digits", Found(pool_view(pool), {}, pool["metadata"]["resourceVersion"]).told({}))
    assert kinds(await caught(stale)) == (409, {"conflict"})
    await door.shut()
    assert kinds(await caught(kube.get(POOLS, admin.namespace, "digits"))) == (0, set())
