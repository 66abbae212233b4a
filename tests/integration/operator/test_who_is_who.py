"""Who a caller is, and what its roles let it do, as a real API server says it, with tokens that it has made."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from snakepit import Client
from snakepit_control_plane.authentication import Authentication
from snakepit_control_plane.policy.rights import ON_POOLS, READ_LOGS
from support.admin import Admin
from support.control_plane import replica
from support.eventually import eventually
from support.simulated_agent import settings

AUDIENCE = "snakepit.snakepit-system"
ISSUER = "https://kubernetes.default.svc"

VIEWS = {"get snakepools/status", "get snakepools/calls", "list snakepools/calls"}
CALLS = {"create snakepools/call", "create snakepools/tools", "get snakepools/status"}
MAINTAINS = {
    "get snakepools/status",
    "update snakepools/workers",
    *(f"{verb} snakepools/sessions" for verb in ("get", "list", "update", "delete")),
    *(f"{verb} snakepools/calls" for verb in ("get", "list", "delete")),
}


async def made(admin: Admin, account: str, *audiences: str) -> str:
    """A token of a service account, as `kubectl create token` has it made."""
    accounts = f"/api/v1/namespaces/{admin.namespace}/serviceaccounts"
    with contextlib.suppress(AssertionError):  # It is there.
        await admin.ask("POST", accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    wanted = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences, "expirationSeconds": 3600}}
    token: str = (await admin.ask("POST", f"{accounts}/{account}/token", wanted))["status"]["token"]
    return token


@pytest.fixture
async def client(admin: Admin, tmp_path: Path) -> AsyncIterator[Client]:
    """A gateway's: its own account may do nothing. The control plane asks the API server as the chart's does."""
    own = tmp_path / "own"
    own.write_text("control-plane\n")
    (tmp_path / "gateway").write_text(await made(admin, "gateway", AUDIENCE))
    asking = Authentication(
        keys=f"{admin.server.url}/openid/v1/jwks",
        audience=AUDIENCE,
        operator="system:serviceaccount:snakepit-system:snakepit-operator",
        issuer=ISSUER,
        ca_file=str(admin.server.certificate),
        token_file=str(own),
        api_server=admin.server.url,
    )
    async with replica(authentication=asking) as server, Client(server.address, token_file=tmp_path / "gateway") as linked:
        server.fleet.sync([settings(f"{admin.namespace}/digits")], complete=False, drain=[])
        yield linked


async def test_whoami_says_what_kubectl_auth_whoami_says(client: Client, admin: Admin) -> None:
    token = await made(admin, "ada", AUDIENCE, ISSUER)
    said = await client.as_caller(token=token).whoami()
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    trusting = ssl.create_default_context(cafile=admin.server.certificate)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        url = f"{admin.server.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with session.post(url, json=review, ssl=trusting) as answer:
            known = (await answer.json())["status"]["userInfo"]
    assert said.subject == known["username"] == f"system:serviceaccount:{admin.namespace}:ada"
    assert sorted(said.groups) == sorted(known["groups"])


@pytest.mark.parametrize(("role", "rights"), [("viewer", VIEWS), ("caller", CALLS), ("maintainer", MAINTAINS)])
async def test_rights_on_a_pool_are_those_of_the_charts_roles(client: Client, admin: Admin, role: str, rights: set[str]) -> None:
    ada, bob = [client.as_caller(token=await made(admin, each, AUDIENCE)).pool(f"{admin.namespace}/digits") for each in ("ada", "bob")]
    assert {str(each) for each in ON_POOLS} == VIEWS | CALLS | MAINTAINS
    bound = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"snakepit-{role}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"snakepit-{role}"},
        "subjects": [{"kind": "ServiceAccount", "name": "bob", "namespace": admin.namespace}],
    }
    await admin.ask("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{admin.namespace}/rolebindings", bound)

    async def has_them() -> bool:
        return await bob.rights() == rights

    await eventually(has_them, f"bob has what {role} gives", 40)
    assert await ada.rights() == set()


async def test_whoever_may_read_the_log_of_a_namespaces_pods_is_told_so(client: Client, admin: Admin) -> None:
    bob = client.as_caller(token=await made(admin, "bob", AUDIENCE)).pool(f"{admin.namespace}/digits")
    assert await bob.rights() == set()
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{admin.namespace}"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reads-logs"}}
    await admin.ask("POST", f"{rbac}/roles", {**role, "rules": [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]})
    bound = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reads-logs"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads-logs"},
        "subjects": [{"kind": "ServiceAccount", "name": "bob", "namespace": admin.namespace}],
    }
    await admin.ask("POST", f"{rbac}/rolebindings", bound)

    async def has_it() -> bool:
        return await bob.rights() == {str(READ_LOGS)}

    await eventually(has_it, "bob has it", 40)
