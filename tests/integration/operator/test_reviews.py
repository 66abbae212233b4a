"""Callers' rights are those that a real API server's RBAC gives: asked as the control plane of the chart asks, with its rights."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from snakepit.errors import PermissionDenied, ServerUnavailable
from snakepit_control_plane.authorization.audit import Audit
from snakepit_control_plane.authorization.reviews import Reviews
from snakepit_control_plane.authorization.rights import Rights
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import AS_ACCOUNT, AS_GROUP, AS_USER, CALL, CHANGE_SESSION, LOOK, MAINTAIN, OFFER, Right
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube
from snakepit_operator.pods import AgentImage
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from support.admin import Admin, Refused
from support.api_server import ADMIN, SYSTEM
from support.eventually import eventually

RBAC = "/apis/rbac.authorization.k8s.io/v1"


@pytest.fixture
def reviews(admin: Admin, tmp_path: Path) -> Reviews:
    (tmp_path / "token").write_text("control-plane\n")
    return Reviews(admin.server.url, str(tmp_path / "token"), str(admin.server.certificate))


async def bind(admin: Admin, role: str, user: str, pool: str = "") -> None:
    """A RoleBinding to a ClusterRole of the chart's; with `pool`, to a Role for calls of that pool alone."""
    kind = "ClusterRole"
    if pool:
        kind = "Role"
        rules = [{"apiGroups": ["snakepit.dev"], "resources": ["snakepools/call"], "verbs": ["create"], "resourceNames": [pool]}]
        body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": role}, "rules": rules}
        await admin.ask("POST", f"{RBAC}/namespaces/{admin.namespace}/roles", body)
    await admin.ask(
        "POST",
        f"{RBAC}/namespaces/{admin.namespace}/rolebindings",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{role}-{user}"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        },
    )


async def allowed(reviews: Reviews, user: str, right: Right, pool: str) -> bool:
    return (await reviews.ask(Caller(user, user, ("system:authenticated",)), right, pool)).allowed


async def becomes(reviews: Reviews, user: str, right: Right, pool: str, *, given: bool) -> None:
    async with asyncio.timeout(20):
        while await allowed(reviews, user, right, pool) is not given:
            await asyncio.sleep(0.02)


async def test_a_role_binding_gives_the_rights_of_its_role_in_its_namespace_and_taking_it_away_takes_them(
    reviews: Reviews, admin: Admin
) -> None:
    pool = f"{admin.namespace}/digits"
    assert not await allowed(reviews, "ada", CALL, pool)
    await bind(admin, "snakepit-caller", "ada")
    await becomes(reviews, "ada", CALL, pool, given=True)
    assert await allowed(reviews, "ada", OFFER, pool)
    assert await allowed(reviews, "ada", LOOK, pool)
    assert not await allowed(reviews, "ada", MAINTAIN, pool)
    assert not await allowed(reviews, "ada", CHANGE_SESSION, pool)
    assert not await allowed(reviews, "ada", CALL, "default/digits")
    await admin.ask("DELETE", f"{RBAC}/namespaces/{admin.namespace}/rolebindings/snakepit-caller-ada")
    await becomes(reviews, "ada", CALL, pool, given=False)


async def test_a_right_may_be_on_a_single_pool_and_whoever_may_edit_may_call_and_maintain(reviews: Reviews, admin: Admin) -> None:
    await bind(admin, "one-pool", "bob", pool="digits")
    await becomes(reviews, "bob", CALL, f"{admin.namespace}/digits", given=True)
    assert not await allowed(reviews, "bob", CALL, f"{admin.namespace}/others")
    admin.server.control("clusterrole-aggregation-controller")
    try:
        await bind(admin, "edit", "eve")
        for right in (CALL, OFFER, LOOK, MAINTAIN, CHANGE_SESSION):
            await becomes(reviews, "eve", right, f"{admin.namespace}/others", given=True)
        await bind(admin, "view", "vic")
        await becomes(reviews, "vic", LOOK, f"{admin.namespace}/others", given=True)
        assert not await allowed(reviews, "vic", CALL, f"{admin.namespace}/others")
    finally:
        admin.server.uncontrolled()


async def test_the_command_of_a_refusal_says_what_the_control_plane_says(reviews: Reviews, admin: Admin) -> None:
    pool = f"{admin.namespace}/digits"
    rights = Rights(reviews.ask, Audit("off"))
    with pytest.raises(PermissionDenied) as refused:
        await rights.check(Caller("ada", "ada"), CALL, pool)
    command = str(refused.value).split("`")[1].split()
    assert await said(admin, command) == "no"
    await bind(admin, "snakepit-caller", "ada")
    async with asyncio.timeout(20):
        while await said(admin, command) != "yes":
            await asyncio.sleep(0.1)
    await becomes(reviews, "ada", CALL, pool, given=True)


async def said(admin: Admin, command: list[str]) -> str:
    command = [str(admin.server.programs / command[0]), "--kubeconfig", str(admin.server.kubeconfig(ADMIN)), *command[1:]]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip()


async def test_the_service_accounts_of_a_pools_namespace_may_call_its_pools_for_as_long_as_there_are_any(
    reviews: Reviews, admin: Admin, kube: Kube
) -> None:
    settings = Settings(
        namespace=SYSTEM,
        identity="me",
        agent=AgentImage(image="agent:1"),
        watch_namespaces=(admin.namespace,),
        caller_role="snakepit-caller",
    )
    operator = Reconciler(kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
    for name in ("digits", "others"):
        await admin.make_pool(name, suspended=True)
        await operator.reconcile(f"{admin.namespace}/{name}", time.time())
    binding = f"{RBAC}/namespaces/{admin.namespace}/rolebindings/snakepit-callers"
    owners = (await admin.ask("GET", binding))["metadata"]["ownerReferences"]
    assert sorted(each["name"] for each in owners) == ["digits", "others"]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{admin.namespace}", "system:authenticated")
    web = Caller(f"system:serviceaccount:{admin.namespace}:web", f"system:serviceaccount:{admin.namespace}:web", groups)

    async def may_call() -> bool:
        return (await reviews.ask(web, CALL, f"{admin.namespace}/digits")).allowed

    await eventually(may_call, "the namespace's own may call")
    stranger = Caller("system:serviceaccount:other:web", "system:serviceaccount:other:web", ("system:serviceaccounts:other",))
    assert not (await reviews.ask(stranger, CALL, f"{admin.namespace}/digits")).allowed
    admin.server.control("garbage-collector-controller")
    try:
        await admin.delete("snakepools", "digits")

        async def owned_by() -> list[str]:
            return [each["name"] for each in (await admin.ask("GET", binding))["metadata"]["ownerReferences"]]

        async def of_others() -> bool:
            return await owned_by() == ["others"]

        await eventually(of_others, "it is the other pool's alone")
        await admin.delete("snakepools", "others")

        async def gone() -> bool:
            try:
                await admin.ask("GET", binding)
            except Refused as error:
                return error.status == 404
            return False

        await eventually(gone, "it is gone with the last")
    finally:
        admin.server.uncontrolled()


async def test_a_gateway_may_pass_on_whom_rbac_lets_it_impersonate(reviews: Reviews, admin: Admin) -> None:
    """As at the API server: users and groups by a role for the whole cluster, service accounts by one of their namespace."""
    gateway, account = Caller("gateway", "gateway"), f"{admin.namespace}/web"
    for right, what in ((AS_USER, "/ada"), (AS_GROUP, "/staff"), (AS_ACCOUNT, account)):
        assert not (await reviews.ask(gateway, right, what)).allowed
    names = {"resources": ["users"], "resourceNames": ["ada"]}, {"resources": ["groups"], "resourceNames": ["staff"]}
    await grant(admin, "", "gateway", *names)
    await grant(admin, admin.namespace, "gateway", {"resources": ["serviceaccounts"]})
    async with asyncio.timeout(20):
        for right, what in ((AS_USER, "/ada"), (AS_GROUP, "/staff"), (AS_ACCOUNT, account)):
            while not (await reviews.ask(gateway, right, what)).allowed:
                await asyncio.sleep(0.02)
    for right, what in ((AS_USER, "/bob"), (AS_GROUP, "/system:masters"), (AS_ACCOUNT, "default/web")):
        assert not (await reviews.ask(gateway, right, what)).allowed
    with pytest.raises(PermissionDenied) as refused:
        await Rights(reviews.ask, Audit("off")).check(gateway, AS_USER, "/bob")
    assert await said(admin, str(refused.value).split("`")[1].split()) == "no"


async def grant(admin: Admin, namespace: str, user: str, *rules: dict[str, list[str]]) -> None:
    """The verb `impersonate`, in a namespace or (empty) in the whole cluster."""
    kind, where = ("Role", f"{RBAC}/namespaces/{namespace}/") if namespace else ("ClusterRole", f"{RBAC}/")
    name = {"name": f"passes-on-{admin.namespace}"}
    of_core = [{"apiGroups": [""], "verbs": ["impersonate"], **rule} for rule in rules]
    api = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": name}
    await admin.ask("POST", f"{where}{kind.lower()}s", {**api, "kind": kind, "rules": of_core})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, **name}
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]
    await admin.ask("POST", f"{where}{kind.lower()}bindings", {**api, "kind": f"{kind}Binding", "roleRef": role, "subjects": subjects})


async def test_a_control_plane_without_the_right_to_ask_for_the_whole_cluster_passes_nobody_on(admin: Admin, tmp_path: Path) -> None:
    """As in an installation that has no ClusterRoles; it goes on answering for pools."""
    (tmp_path / "token").write_text("teams-operator")
    asks = Reviews(admin.server.url, str(tmp_path / "token"), str(admin.server.certificate))
    answer = await asks.ask(Caller("gateway", "gateway"), AS_USER, "/ada")
    assert not answer.allowed
    assert "may not create subjectaccessreviews" in answer.reason


async def test_whoever_can_t_ask_says_why(reviews: Reviews, admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("nobody")
    with pytest.raises(ServerUnavailable, match="it answers 401 Unauthorized"):
        await allowed(reviews, "ada", CALL, f"{admin.namespace}/digits")
    nowhere = Reviews("https://127.0.0.1:9", str(tmp_path / "token"), str(admin.server.certificate))
    with pytest.raises(ServerUnavailable, match=r"can't be asked who may do what: .*refused"):
        await allowed(nowhere, "ada", CALL, f"{admin.namespace}/digits")
