"""What the operator relies on of an API server."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from snakepit._names import new_id
from snakepit_operator.kube import BUDGETS, EVENTS, LEASES, PODS, POOLS, Kube, KubeError, Object
from support.go_tools import BUILD_SECONDS

pytestmark = pytest.mark.timeout(BUILD_SECONDS + 60)


def pod(name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    body = {"containers": [{"name": "worker", "image": "example/digits:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": body}


def pool(name: str = "digits", **spec: Any) -> Object:
    body = {"image": "example/digits:1", "worker": {"adapter": "digits.tools:Digits"}, **spec}
    return {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": name}, "spec": body}


def told(seen: str = "", **status: Any) -> Object:
    """A status for the pool; `seen`: only for that version of it."""
    metadata = {"name": "digits", **({"resourceVersion": seen} if seen else {})}
    return {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": metadata, "status": status}


def ready(status: str, of: str = "Ready") -> Object:
    return {
        "type": of,
        "status": status,
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2026-11-29T00:00:00Z",
        "observedGeneration": 1,
    }


STALLED = ready("True", "Stalled")


def lease(holder: str) -> Object:
    metadata = {"name": "leader"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {"holderIdentity": holder}}


def event(name: str, uid: str, namespace: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "name": "a", "namespace": namespace, "uid": uid},
        "type": "Normal",
        "reason": "Test",
        "message": "a word",
        "count": 1,
    }


def budget(*, labels: dict[str, str], **spec: Any) -> Object:
    selector = {"selector": {"matchLabels": {"pool": "digits"}}}
    metadata = {"name": "digits-capsules", "labels": labels}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": {**selector, **spec}}


async def refused(asked: Awaitable[object]) -> tuple[int, str]:
    with pytest.raises(KubeError) as caught:
        await asked
    return caught.value.code, caught.value.reason


def names(objects: list[Object]) -> list[str]:
    return [each["metadata"]["name"] for each in objects]


def version(of: Object) -> str:
    return str(of["metadata"]["resourceVersion"])


async def test_what_was_made_is_there_with_an_identity_and_a_version(kube: Kube, namespace: str) -> None:
    made = await kube.create(PODS, namespace, pod("a"))
    assert made["metadata"]["uid"]
    assert version(made)
    assert made["metadata"]["creationTimestamp"]
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("a", namespace)
    assert (await kube.get(PODS, namespace, "a"))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_pod_that_was_made_waits(kube: Kube, namespace: str) -> None:
    made = await kube.create(PODS, namespace, {**pod("a"), "status": {"phase": "Running"}})
    assert made["status"]["phase"] == "Pending"


async def test_what_somebody_does_with_an_answer_changes_nothing(kube: Kube, namespace: str) -> None:
    body = pod("a")
    made = await kube.create(PODS, namespace, body)
    for mine in (body, made, await kube.get(PODS, namespace, "a")):
        mine["spec"]["containers"][0]["image"] = mine["metadata"]["name"] = "changed"
    (listed,) = await kube.list(PODS, namespace)
    listed["spec"]["nodeName"] = listed["metadata"]["name"] = "changed"
    found = await kube.get(PODS, namespace, "a")
    assert (found["metadata"]["name"], found["spec"]["containers"][0]["image"]) == ("a", "example/digits:1")


async def test_a_name_is_taken_only_once_in_a_namespace(kube: Kube, namespaces: list[str]) -> None:
    await kube.create(PODS, namespaces[0], pod("a"))
    assert await refused(kube.create(PODS, namespaces[0], pod("a"))) == (409, "AlreadyExists")
    await kube.create(PODS, namespaces[1], pod("a"))


async def test_what_is_not_there_is_not_found(kube: Kube, namespace: str) -> None:
    missing = (404, "NotFound")
    assert await refused(kube.get(PODS, namespace, "a")) == missing
    assert await refused(kube.merge(PODS, namespace, "a", {"metadata": {"labels": {"a": "b"}}})) == missing
    assert await refused(kube.merge_status(POOLS, namespace, "digits", told(reason="Ready"))) == missing
    assert await refused(kube.apply_status(POOLS, namespace, "digits", told(reason="Ready"))) == missing
    assert await refused(kube.apply_status(POOLS, namespace, "digits", told("1", reason="Ready"))) == missing
    await kube.delete(PODS, namespace, "a")


async def test_a_list_is_of_a_namespace_or_of_all(kube: Kube, namespaces: list[str]) -> None:
    mark = new_id()
    for each in namespaces:
        await kube.create(PODS, each, pod("a", labels={"mark": mark}))
    assert [each["metadata"]["namespace"] for each in await kube.list(PODS, namespaces[0])] == [namespaces[0]]
    assert [each["metadata"]["namespace"] for each in await kube.list(PODS, None, f"mark={mark}")] == namespaces


async def test_of_what_is_listed_by_the_hundred_only_what_is_read_is_kept(kube: Kube, namespace: str) -> None:
    made = await kube.create(PODS, namespace, pod("a", labels={"pool": "digits"}, nodeName="node-1"))
    await kube.create(POOLS, namespace, pool(replicas=1))
    (listed,) = await kube.list(PODS, namespace)
    assert listed["spec"] == {"nodeName": "node-1"}
    assert listed["status"]["phase"] == "Pending"
    assert {name: made["metadata"][name] for name in listed["metadata"]} == listed["metadata"]
    assert {"name", "namespace", "uid", "labels", "creationTimestamp", "resourceVersion"} <= listed["metadata"].keys()
    (found,) = await kube.list(POOLS, namespace)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (1, 1)
    for each in (listed, found):
        assert "managedFields" not in each["metadata"]


async def test_a_list_is_of_what_has_all_those_labels(kube: Kube, namespace: str) -> None:
    await kube.create(PODS, namespace, pod("both", labels={"pool": "digits", "tier": "one"}))
    await kube.create(PODS, namespace, pod("one", labels={"pool": "digits"}))
    await kube.create(PODS, namespace, pod("none"))
    assert names(await kube.list(PODS, namespace)) == ["both", "none", "one"]
    assert names(await kube.list(PODS, namespace, "pool=digits")) == ["both", "one"]
    assert names(await kube.list(PODS, namespace, "pool=digits,tier=one")) == ["both"]
    assert names(await kube.list(PODS, namespace, "pool=other")) == []


async def test_the_revision_grows_with_each_change(kube: Kube, namespace: str) -> None:
    before = await kube.revision(PODS, namespace)
    made = await kube.create(PODS, namespace, pod("a"))
    assert before < int(version(made)) <= await kube.revision(PODS, namespace)


async def test_events_are_listed_by_whom_they_are_about(kube: Kube, namespace: str) -> None:
    for name, uid in (("one", "uid-1"), ("other", "uid-2")):
        await kube.create(EVENTS, namespace, event(name, uid, namespace))
    assert names(await kube.list(EVENTS, namespace, fields="involvedObject.uid=uid-1")) == ["one"]


async def test_only_the_very_object_is_deleted(kube: Kube, namespace: str) -> None:
    first = await kube.create(PODS, namespace, pod("a"))
    await kube.delete(PODS, namespace, "a", "another-uid")
    assert names(await kube.list(PODS, namespace)) == ["a"]
    await kube.delete(PODS, namespace, "a", first["metadata"]["uid"])
    assert names(await kube.list(PODS, namespace)) == []
    second = await kube.create(PODS, namespace, pod("a"))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    await kube.delete(PODS, namespace, "a", first["metadata"]["uid"])
    assert names(await kube.list(PODS, namespace)) == ["a"]
    await kube.delete(PODS, namespace, "a")
    assert names(await kube.list(PODS, namespace)) == []


async def test_a_pod_on_a_node_is_going_until_its_kubelet_has_ended_it(kube: Kube, namespace: str) -> None:
    made = await kube.create(PODS, namespace, pod("a", nodeName="node-1"))
    await kube.delete(PODS, namespace, "a", made["metadata"]["uid"])
    going = await kube.get(PODS, namespace, "a")
    assert going["metadata"]["deletionTimestamp"]
    assert version(going) != version(made)


async def test_a_replacement_must_know_the_newest_state(kube: Kube, namespace: str) -> None:
    first = await kube.create(LEASES, namespace, lease("me"))
    second = await kube.replace(LEASES, namespace, "leader", {**first, "spec": {"holderIdentity": "other"}})
    assert version(second) != version(first)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert await refused(kube.replace(LEASES, namespace, "leader", first)) == (409, "Conflict")
    assert (await kube.get(LEASES, namespace, "leader"))["spec"]["holderIdentity"] == "other"


async def test_a_lease_that_has_gone_meanwhile_is_not_replaced_and_one_that_never_was_is_made(kube: Kube, namespace: str) -> None:
    read = await kube.create(LEASES, namespace, lease("me"))
    await kube.delete(LEASES, namespace, "leader")
    assert await refused(kube.replace(LEASES, namespace, "leader", read)) == (409, "Conflict")
    read["metadata"].pop("resourceVersion")
    read["metadata"].pop("uid")
    made = await kube.replace(LEASES, namespace, "leader", read)
    assert made["spec"]["holderIdentity"] == "me"


async def test_a_merge_changes_what_it_names_and_a_null_removes(kube: Kube, namespace: str) -> None:
    await kube.create(POOLS, namespace, pool(replicas=2, queue={"maxSize": 5, "timeoutSeconds": 3}))
    after = await kube.merge(
        POOLS, namespace, "digits", {"spec": {"replicas": 3, "queue": {"maxSize": 6}}, "metadata": {"labels": {"a": "b"}}}
    )
    assert after["spec"]["replicas"] == 3
    assert (after["spec"]["queue"]["maxSize"], after["spec"]["queue"]["timeoutSeconds"]) == (6, 3)
    after = await kube.merge(POOLS, namespace, "digits", {"metadata": {"labels": {"a": None, "c": "d"}}})
    assert after["metadata"]["labels"] == {"c": "d"}


async def test_another_spec_is_another_generation_and_another_status_is_none(kube: Kube, namespace: str) -> None:
    made = await kube.create(POOLS, namespace, {**pool(replicas=1), "status": {"reason": "Mine"}})
    assert made["metadata"]["generation"] == 1
    assert "status" not in made
    edited = await kube.merge(POOLS, namespace, "digits", {"spec": {"replicas": 2}})
    assert edited["metadata"]["generation"] == 2
    merged = await kube.merge_status(POOLS, namespace, "digits", told(reason="Ready"))
    applied = await kube.apply_status(POOLS, namespace, "digits", told(reason="Starting"))
    assert {each["metadata"]["generation"] for each in (edited, merged, applied)} == {2}
    assert len({version(each) for each in (made, edited, merged, applied)}) == 4


async def test_a_status_is_merged_and_nothing_else_is(kube: Kube, namespace: str) -> None:
    await kube.create(POOLS, namespace, pool(replicas=1))
    await kube.merge_status(POOLS, namespace, "digits", told(reason="Ready", replicas=2, selector="a=b"))
    merged = await kube.merge_status(POOLS, namespace, "digits", {**told(replicas=3, selector=None), "spec": {"replicas": 7}})
    assert merged["status"] == {"reason": "Ready", "replicas": 3}
    await kube.merge(POOLS, namespace, "digits", {"status": {"reason": "Mine"}})
    found = await kube.get(POOLS, namespace, "digits")
    assert (found["status"], found["spec"]["replicas"]) == ({"reason": "Ready", "replicas": 3}, 1)


async def test_of_a_status_that_is_applied_what_is_applied_no_more_goes_and_what_others_wrote_stays(kube: Kube, namespace: str) -> None:
    await kube.create(POOLS, namespace, pool(replicas=1))
    await kube.apply_status(POOLS, namespace, "digits", told(reason="Ready", replicas=2, workers=4, conditions=[ready("True"), STALLED]))
    await kube.merge_status(POOLS, namespace, "digits", told(selector="a=b", workers=5))
    applied = await kube.apply_status(POOLS, namespace, "digits", told(reason="Starting", conditions=[ready("False")]))
    assert applied["status"] == {"reason": "Starting", "selector": "a=b", "workers": 5, "conditions": [ready("False")]}
    assert applied["spec"]["replicas"] == 1


async def test_a_status_that_is_applied_wins_over_what_others_wrote(kube: Kube, namespace: str) -> None:
    await kube.create(POOLS, namespace, pool(replicas=1))
    await kube.merge_status(POOLS, namespace, "digits", told(reason="Theirs", conditions=[ready("Unknown"), STALLED]))
    applied = await kube.apply_status(POOLS, namespace, "digits", told(reason="Ready", conditions=[ready("True")]))
    assert applied["status"]["reason"] == "Ready"
    assert sorted(applied["status"]["conditions"], key=lambda each: str(each["type"])) == [ready("True"), STALLED]
    merged = await kube.merge_status(POOLS, namespace, "digits", told(conditions=[ready("True")]))
    assert merged["status"]["conditions"] == [ready("True")]


@pytest.mark.parametrize("verb", ["apply_status", "merge_status"])
async def test_a_status_of_a_state_that_is_no_more_is_a_conflict(kube: Kube, namespace: str, verb: str) -> None:
    write, made = getattr(kube, verb), await kube.create(POOLS, namespace, pool(replicas=1))
    await write(POOLS, namespace, "digits", told(version(made), reason="Ready"))
    assert await refused(write(POOLS, namespace, "digits", told(version(made), reason="Late"))) == (409, "Conflict")
    assert (await kube.get(POOLS, namespace, "digits"))["status"]["reason"] == "Ready"


async def test_what_changes_nothing_is_no_new_version(kube: Kube, namespace: str) -> None:
    await kube.create(POOLS, namespace, pool(replicas=1))
    before = await kube.apply_status(POOLS, namespace, "digits", told(reason="Ready"))
    assert version(await kube.apply_status(POOLS, namespace, "digits", told(reason="Ready"))) == version(before)
    assert version(await kube.merge_status(POOLS, namespace, "digits", told(reason="Ready"))) == version(before)
    assert version(await kube.merge(POOLS, namespace, "digits", {"spec": {"replicas": 1}})) == version(before)


async def test_what_is_applied_is_made_and_what_is_applied_no_more_goes(kube: Kube, namespace: str) -> None:
    made = await kube.apply(BUDGETS, namespace, "digits-capsules", budget(labels={"a": "1", "b": "2"}, maxUnavailable=1))
    await kube.merge(BUDGETS, namespace, "digits-capsules", {"metadata": {"labels": {"theirs": "3"}}})
    again = await kube.apply(BUDGETS, namespace, "digits-capsules", budget(labels={"a": "4"}, minAvailable=2))
    assert again["metadata"]["uid"] == made["metadata"]["uid"]
    assert again["metadata"]["labels"] == {"a": "4", "theirs": "3"}
    assert {name: again["spec"].get(name) for name in ("maxUnavailable", "minAvailable")} == {"maxUnavailable": None, "minAvailable": 2}


async def test_what_is_applied_wins_over_what_others_wrote(kube: Kube, namespace: str) -> None:
    await kube.apply(BUDGETS, namespace, "digits-capsules", budget(labels={}, maxUnavailable=1))
    await kube.merge(BUDGETS, namespace, "digits-capsules", {"spec": {"maxUnavailable": 3}})
    after = await kube.apply(BUDGETS, namespace, "digits-capsules", budget(labels={}, maxUnavailable=1))
    assert after["spec"]["maxUnavailable"] == 1
