"""What `snakepit doctor --kube` says of a release: its parts, its operator's view, its CRD, and what a login may see of it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

from snakepit.cli.doctor.codes import Code
from snakepit_control_plane.server import Running
from snakepit_operator.kube import Kube
from support import stuck
from support.admin import CRD, Admin, Refused, crd, namespaced
from support.api_server import TEAMS_OPERATOR, ApiServer
from support.chart_release import Release, operator
from support.eventually import eventually

MAY_LIST = {"": "services", "snakepit.dev": "snakepools"}
"""Of a login that may do little, and in its own namespace."""


async def test_a_release_and_a_pool_that_are_well(release: Release, admin: Admin, kube: Kube, control_plane: Running) -> None:
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    await admin.make_pool(replicas=0)
    async with operator(kube, control_plane, admin.namespace, admin.namespace) as looks:
        await looks.reconcile(f"{admin.namespace}/digits", time.time())
        # Other tests leave pools behind, which this release doesn't watch.
        (note,) = [each for each in await release.doctor() if each.reason != Code.POOL_UNWATCHED]
        assert (note.reason, note.severity) == (Code.NOT_LOOKED_AT, "note")
        assert note.message.startswith("1 of 2 replicas answered through kubectl's forwards")


async def test_parts_of_a_release_that_are_away_and_why(release: Release, admin: Admin) -> None:
    await release.install()
    for name in ("snakepit-operator", "snakepit-control-plane", "snakepit-gateway"):
        await release.say(name, 0)
    await release.say("snakepit-redis", 0, kind="StatefulSet")
    deployment = await admin.ask("GET", f"{release.path('Deployment')}/snakepit-operator")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spec = {"containers": [{"name": "operator", "image": "snakepit/operator:none"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator-0", "labels": labels}, "spec": spec}
    await admin.ask("POST", admin.path("pods"), body)
    await admin.say("operator-0", **stuck.unschedulable("0/2 nodes are available", time.time()).status)
    found = await release.found()
    assert {Code.OPERATOR_AWAY, Code.CONTROL_PLANE_AWAY, Code.GATEWAY_AWAY, Code.STORE_UNAVAILABLE} <= found.keys()
    assert "pods of Deployment" in found[Code.OPERATOR_AWAY].message
    assert "are ready (Unschedulable: 0/2 nodes are available): no capsule is made" in found[Code.OPERATOR_AWAY].message
    await admin.merge(f"{release.path('Deployment')}/snakepit-operator", {"spec": {"replicas": 0}})
    await admin.merge(f"{release.path('Deployment')}/snakepit-control-plane", {"spec": {"replicas": 3}})
    await release.say("snakepit-control-plane", 2)
    found = await release.found()
    assert "is scaled to 0" in found[Code.OPERATOR_AWAY].message
    assert f"`kubectl scale deployment snakepit-operator -n {admin.namespace} --replicas=1`" in found[Code.OPERATOR_AWAY].message
    assert found[Code.PODS_MISSING].message.startswith("2 of 3 pods of Deployment")


async def test_two_releases_that_watch_one_namespace_and_a_pool_of_the_other(
    release: Release, admin: Admin, server: ApiServer, kube: Kube, control_plane: Running
) -> None:
    await release.install()
    async with namespaced(server) as elsewhere:
        other = Release(elsewhere, release.folder)
        await other.install(f"watchNamespaces={{{admin.namespace}}}")
        await admin.make_pool(replicas=0)
        async with operator(kube, control_plane, elsewhere.namespace, admin.namespace) as theirs:
            await theirs.reconcile(f"{admin.namespace}/digits", time.time())
        found = await release.found(f"{admin.namespace}/digits")
        await other.uninstall()
        both = f"the releases {admin.namespace}/snakepit and {elsewhere.namespace}/snakepit both watch namespace {admin.namespace}"
        assert both in found[Code.TWO_RELEASES].message
        lease = f"the operator with the Lease {elsewhere.namespace}/snakepit-operator looks after it"
        assert lease in found[Code.ANOTHER_RELEASE].message


async def test_pools_that_no_operator_has_looked_at(release: Release, admin: Admin, server: ApiServer) -> None:
    await release.install(f"watchNamespaces={{{admin.namespace}}}")
    await admin.make_pool()
    async with namespaced(server) as elsewhere:
        await elsewhere.make_pool()
        found = await release.doctor()
    (unseen,) = [each for each in found if each.reason == Code.POOL_UNSEEN]
    assert unseen.about == f"{admin.namespace}/digits"
    assert "look at the operator's log" in unseen.message
    unwatched = [each.message for each in found if each.reason == Code.POOL_UNWATCHED]
    assert any(f"add {elsewhere.namespace} to watchNamespaces" in each for each in unwatched)


async def test_a_namespace_of_callers_whom_the_network_policy_does_not_let_in(release: Release, admin: Admin) -> None:
    await release.install()
    found = await release.found(namespace=admin.namespace)
    advice = f"`kubectl label namespace {admin.namespace} snakepit.dev/caller=true`"
    assert advice in found[Code.NAMESPACE_NOT_LABELLED].message
    assert found[Code.NAMESPACE_NOT_LABELLED].severity == "note"
    await admin.merge(f"/api/v1/namespaces/{admin.namespace}", {"metadata": {"labels": {"snakepit.dev/caller": "true"}}})
    assert Code.NAMESPACE_NOT_LABELLED not in await release.found(namespace=admin.namespace)


async def test_a_definition_that_is_old_and_one_that_is_missing(release: Release, admin: Admin) -> None:
    await release.install()
    own = await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
    old = copy.deepcopy(own)
    spec = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["slo"], spec["x-kubernetes-validations"]
    try:
        await admin.ask("PUT", f"{CRD}/snakepools.snakepit.dev", old)
        found = await release.found()
        assert "the CRD lacks spec.slo, which the operator knows" in found[Code.CRD_OLD].message
        await admin.ask("DELETE", f"{CRD}/snakepools.snakepit.dev")
        await eventually(lambda: _is_gone(admin), "it is gone")
        found = await release.found()
        assert "the CRD snakepools.snakepit.dev is missing" in found[Code.CRD_MISSING].message
    finally:
        if await _is_gone(admin):
            await admin.define()
        else:
            now = await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
            await admin.ask("PUT", f"{CRD}/snakepools.snakepit.dev", {**crd(), "metadata": now["metadata"]})


async def _is_gone(admin: Admin) -> bool:
    try:
        await admin.ask("GET", f"{CRD}/snakepools.snakepit.dev")
    except Refused as error:
        return error.status == 404
    return False


async def test_what_a_login_may_not_look_at_is_said(release: Release, admin: Admin, kubectl: Callable[[str], None]) -> None:
    await release.install()
    kubectl(TEAMS_OPERATOR)
    found = await release.found(namespace=admin.namespace)
    assert list(found) == ["SERVER_UNAVAILABLE"]
    assert "services is forbidden" in found["SERVER_UNAVAILABLE"].message
    api, who = "rbac.authorization.k8s.io", {"kind": "User", "name": "system:serviceaccount:team:snakepit-operator"}
    rbac, name = f"/apis/{api}/v1/namespaces/{admin.namespace}", {"name": "looks-at-services"}
    rules = [{"apiGroups": [group], "resources": [kind], "verbs": ["list"]} for group, kind in MAY_LIST.items()]
    await admin.ask("POST", f"{rbac}/roles", {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": name, "rules": rules})
    binding = {"subjects": [{**who, "apiGroup": api}], "roleRef": {"apiGroup": api, "kind": "Role", **name}}
    await admin.ask("POST", f"{rbac}/rolebindings", {"apiVersion": f"{api}/v1", "kind": "RoleBinding", "metadata": name, **binding})
    await admin.make_pool()
    findings = await release.doctor(namespace=admin.namespace)
    notes = {each.message.partition(" could not be looked at (")[0] for each in findings if each.reason == Code.NOT_LOOKED_AT}
    assert all(each.severity == "note" and "forbidden" in each.message for each in findings if each.reason == Code.NOT_LOOKED_AT)
    assert {"the CRD", "all of the release's workloads, pods and NetworkPolicies", "operators of other releases"} <= notes
    # Not those of all namespaces, and those of its own.
    assert "SnakePools" not in notes
    assert [each.about for each in findings if each.reason == Code.POOL_UNSEEN] == [f"{admin.namespace}/digits"]
