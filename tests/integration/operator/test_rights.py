"""Each right that the chart gives to our components is needed: it is taken away, and what it is for is refused. None is missing.

The list is below, with what uses each right; docs/security.md has the same rights as a table, out of the chart.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from snakepit._names import new_id
from snakepit.errors import ServerUnavailable
from snakepit_control_plane.authorization.reviews import Reviews
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import AS_USER, CALL
from snakepit_operator.access import Access
from snakepit_operator.apply import Applier
from snakepit_operator.authority import Authority
from snakepit_operator.events import NewEvent
from snakepit_operator.fleet import Fleet
from snakepit_operator.front_proxy import User
from snakepit_operator.kube import ROLE_BINDINGS, Kube, KubeError
from snakepit_operator.leases import Election
from snakepit_operator.model import Deletion, Plan
from snakepit_operator.pods import AgentImage
from snakepit_operator.pools import Pools
from snakepit_operator.reconcile import Reconciler
from snakepit_operator.settings import Settings
from snakepit_operator.views import pool_view
from snakepit_operator.wake import watch
from support.admin import Admin, Refused, place, rights
from support.api_server import SYSTEM, ApiServer
from support.eventually import eventually
from support.go_tools import ROOT
from support.scripts import imported
from support.tasks import task

AGENT = AgentImage(image="agent:1", control_plane="127.0.0.1:1")
"""Nobody listens there: the control plane is unknown."""
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/snakepit-operator"
NOBODY = "system:serviceaccount:nowhere:nobody"


class World:
    """What the components do with the API server, each by its own code, in a namespace of the test's."""

    def __init__(self, kube: Kube, admin: Admin, folder: Path) -> None:
        self.kube, self.admin, self.folder = kube, admin, folder
        self.pool = f"{admin.namespace}/digits"

    async def lead(self) -> None:
        """The lease isn't there, then it is."""
        with contextlib.suppress(Refused):
            await self.admin.ask("DELETE", LEASE)
        election = Election(self.kube, SYSTEM, "snakepit-operator", "me")
        await election.round(0.0)
        await election.round(1.0)
        if not election.leading.is_set():
            await self.admin.ask("POST", LEASE.rpartition("/")[0], {"metadata": {"name": "snakepit-operator"}})
            await election.round(2.0)

    async def reconcile(self) -> None:
        """A capsule comes and goes, and callers may call."""
        settings = Settings(
            namespace=SYSTEM,
            identity="me",
            agent=AGENT,
            watch_namespaces=(self.admin.namespace,),
            caller_role="snakepit-caller",
            capsule_policy={"metadata": {"name": "capsules"}, "spec": {"podSelector": {}}},
        )
        operator = Reconciler(self.kube, settings, Fleet("127.0.0.1:1", lambda pool, essential: None))
        await operator.reconcile(self.pool, time.time())
        for pod in await self.admin.every("pods"):
            deletion = Deletion(pod["metadata"]["name"], pod["metadata"]["uid"], "Spare")
            await Applier(self.kube, AGENT).carry_out(pool_view(await self.admin.pool()), Plan(deletions=(deletion,)))

    async def tell(self) -> None:
        """The same event twice."""
        pool = pool_view(await self.admin.pool())
        for _ in range(2):
            await Applier(self.kube, AGENT).tell(pool, [NewEvent("Warning", "Told", "twice")])

    async def certify_no_more(self) -> None:
        secrets = (f"secrets/snakepit-{each}" for each in ("ca", "tls", "gateway-tls"))
        for made in ("services/snakepit", *secrets, "configmaps/snakepit-ca"):
            with contextlib.suppress(Refused):
                await self.admin.ask("DELETE", f"/api/v1/namespaces/{SYSTEM}/{made}")

    async def certify(self) -> None:
        """Certificates of control plane and gateways, from nothing; and who signs them, told where pools are."""
        await self.certify_no_more()
        await self.admin.ask(
            "POST", f"/api/v1/namespaces/{SYSTEM}/services", {"metadata": {"name": "snakepit"}, "spec": {"ports": [{"port": 7800}]}}
        )
        settings = Settings(
            namespace=SYSTEM,
            identity="me",
            agent=AgentImage(image="agent:1", authority="snakepit-ca"),
            tls_service="snakepit",
            tls_secret="snakepit-tls",
            tls_names=("snakepit",),
            tls_gateway_secret="snakepit-gateway-tls",
            tls_gateway_names=("snakepit-gateway",),
        )
        authority = Authority(self.kube, settings, lambda: None, time.time)
        await authority.round()
        await Applier(self.kube, settings.agent).authority(pool_view(await self.admin.pool()), authority.bundle)

    async def take_the_policy_away(self) -> None:
        await Applier(self.kube, AGENT, policy={"metadata": {"name": "capsules"}}).network(pool_view(await self.admin.pool()))

    async def list_pools(self) -> None:
        await Pools(self.kube, ()).labelled(self.admin.namespace, "a=b")

    async def watch(self) -> None:
        """Both kopf's lists and its watches: what is changed is told."""
        woken = asyncio.Event()
        async with task(watch((self.admin.namespace,), lambda pool, version: woken.set() if pool else None)):
            while not woken.is_set():
                await self.admin.merge(self.admin.pools_path("digits"), {"metadata": {"annotations": {"nudge": new_id()}}})
                await asyncio.sleep(0.1)

    async def ask_for_an_autoscaler(self) -> None:
        await Access(self.kube).refusal(User("ada"), {"nonResourceAttributes": {"path": "/", "verb": "get"}})

    async def ask_for_a_caller(self) -> None:
        token = self.folder / "token"
        token.write_text("control-plane")
        server = self.admin.server
        await Reviews(server.url, str(token), str(server.certificate)).ask(Caller(NOBODY, NOBODY), CALL, self.pool)

    async def ask_for_a_gateway(self) -> None:
        token = self.folder / "token"
        token.write_text("control-plane")
        server = self.admin.server
        await Reviews(server.url, str(token), str(server.certificate)).ask(Caller(NOBODY, NOBODY), AS_USER, "/ada")


Use = Callable[[World], Awaitable[None]]
USES: dict[str, Use] = {
    "operator: get snakepools.snakepit.dev": World.reconcile,
    "operator: list snakepools.snakepit.dev": World.list_pools,
    "operator: watch snakepools.snakepit.dev": World.watch,
    "operator: patch snakepools/status.snakepit.dev": World.reconcile,
    "operator: list pods": World.reconcile,
    "operator: watch pods": World.watch,
    "operator: create pods": World.reconcile,
    "operator: delete pods": World.reconcile,
    "operator: create poddisruptionbudgets.policy": World.reconcile,
    "operator: patch poddisruptionbudgets.policy": World.reconcile,
    "operator: create networkpolicies.networking.k8s.io": World.reconcile,
    "operator: patch networkpolicies.networking.k8s.io": World.reconcile,
    "operator: delete networkpolicies.networking.k8s.io": World.take_the_policy_away,
    "operator: create events": World.tell,
    "operator: list events": World.tell,
    "operator: patch events": World.tell,
    "operator: create rolebindings.rbac.authorization.k8s.io": World.reconcile,
    "operator: patch rolebindings.rbac.authorization.k8s.io": World.reconcile,
    "operator: bind clusterroles.rbac.authorization.k8s.io": World.reconcile,
    "operator: get leases.coordination.k8s.io": World.lead,
    "operator: create leases.coordination.k8s.io": World.lead,
    "operator: update leases.coordination.k8s.io": World.lead,
    "operator: create configmaps": World.certify,
    "operator: patch configmaps": World.certify,
    "operator: get secrets": World.certify,
    "operator: create secrets": World.certify,
    "operator: patch secrets": World.certify,
    "operator: get services": World.certify,
    "operator: create subjectaccessreviews.authorization.k8s.io": World.ask_for_an_autoscaler,
    "control-plane: create localsubjectaccessreviews.authorization.k8s.io": World.ask_for_a_caller,
    "control-plane: create subjectaccessreviews.authorization.k8s.io": World.ask_for_a_gateway,
}
"""What is refused without the right. Whoever gives a component another one says here what for."""


Named = tuple[str, str]


def named(each: dict[str, Any]) -> Named:
    return each["kind"], each["metadata"]["name"]


@pytest.fixture
async def world(kube: Kube, admin: Admin, tmp_path: Path) -> AsyncIterator[World]:
    await admin.make_pool()
    made = World(kube, admin, tmp_path)
    yield made
    await made.certify_no_more()


@pytest.fixture(scope="module")
def given(server: ApiServer, script: ModuleType) -> Iterator[list[dict[str, Any]]]:
    """Roles and bindings of the chart, with all rights that it gives with any values. Others have this server before and after."""
    helm = server.programs / "helm"
    objects = {named(each): each for each in rights(helm, SYSTEM)}
    usual = copy.deepcopy(objects)
    for value in script.OTHERWISE:
        for each in rights(helm, SYSTEM, value):
            known = objects.setdefault(named(each), each).get("rules", [])
            known += [rule for rule in each.get("rules", ()) if rule not in known]

    asyncio.run(put(server, objects.values(), usual))
    yield list(objects.values())
    asyncio.run(put_back(server, objects.values(), usual))


async def put(server: ApiServer, objects: Iterable[dict[str, Any]], usual: Container[Named]) -> None:
    admin = Admin(server, SYSTEM)
    for each in objects:
        if named(each) not in usual:
            await admin.ask("POST", place(each), each)
        elif "rules" in each:
            await change(admin, each, each["rules"])
    await admin.close()


async def put_back(server: ApiServer, objects: Iterable[dict[str, Any]], usual: Mapping[Named, dict[str, Any]]) -> None:
    admin = Admin(server, SYSTEM)
    for each in objects:
        if named(each) not in usual:
            await admin.ask("DELETE", f"{place(each)}/{each['metadata']['name']}")
        elif "rules" in each:
            await change(admin, each, usual[named(each)]["rules"])
    await admin.close()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.append(str(ROOT / "hack"))
    return imported(ROOT / "hack/rights.py")


def told(right: Any) -> str:
    return f"{right.who}: {right.verb} {right.of}"


def test_every_right_that_the_chart_gives_has_a_use_here(script: ModuleType, given: list[dict[str, Any]]) -> None:
    assert {told(each) for each in script.given(given) if each.verb} == USES.keys()


@pytest.mark.parametrize("use", sorted({*USES.values()}, key=lambda use: use.__name__), ids=lambda use: use.__name__)
async def test_no_right_is_missing(world: World, given: list[dict[str, Any]], use: Use) -> None:
    since = world.admin.server.audited()
    await use(world)
    assert world.admin.server.refusals(since) == []


@pytest.mark.parametrize("right", USES)
async def test_without_it_what_it_is_for_is_refused(world: World, given: list[dict[str, Any]], right: str) -> None:
    who, verb, of = right.replace(":", "").split()
    server = world.admin.server
    since = server.audited()
    # What is made by an apply is a patch in the log, and whoever may not bind a role is refused the binding.
    shown = {right, f"{who}: patch {'rolebindings.rbac.authorization.k8s.io' if verb == 'bind' else of}"}

    def refused() -> bool:
        return bool(shown & {*server.refusals(since)})

    async with taken(world.admin, given, who, verb, of):
        using = asyncio.ensure_future(use_of(world, right))
        try:
            await eventually(refused, f"{right}: refused")
        finally:
            using.cancel()
            await asyncio.gather(using, return_exceptions=True)


async def use_of(world: World, right: str) -> None:
    with contextlib.suppress(KubeError, ServerUnavailable):
        await USES[right](world)


@contextlib.asynccontextmanager
async def taken(admin: Admin, given: Iterable[dict[str, Any]], who: str, verb: str, of: str) -> AsyncIterator[None]:
    """No role of that component gives it any more; afterwards as before."""
    resource, _, group = of.partition(".")
    bindings = [each for each in given if each.get("subjects", [{}])[0].get("name") == f"snakepit-{who}"]
    bound = {(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings}
    roles = [each for each in given if named(each) in bound]
    for role in roles:
        rules = [
            {**rule, "verbs": [each for each in rule["verbs"] if each != verb]}
            if rule["resources"] == [resource] and rule["apiGroups"] == [group]
            else rule
            for rule in role["rules"]
        ]
        await change(admin, role, [rule for rule in rules if rule["verbs"]])
    try:
        await eventually(lambda: may(admin, who, verb, resource, group, no=True), "it is taken")
        yield
    finally:
        for role in roles:
            await change(admin, role, role["rules"])
        await eventually(lambda: may(admin, who, verb, resource, group), "it is given again")


async def change(admin: Admin, role: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    await admin.merge(f"{place(role)}/{role['metadata']['name']}", {"rules": rules})


async def may(admin: Admin, who: str, verb: str, resource: str, group: str, *, no: bool = False) -> bool:
    plural, _, sub = resource.partition("/")
    applied = {"secrets": "snakepit-tls", "configmaps": "snakepit-ca"}
    name = {"leases": "snakepit-operator", "clusterroles": "snakepit-caller", "services": "snakepit", **applied}.get(plural, "")
    what = {
        "namespace": SYSTEM,
        "verb": verb,
        "group": group,
        "resource": plural,
        "subresource": sub,
        "name": "" if verb == "create" and plural not in applied else name,
    }
    subject = f"system:serviceaccount:{SYSTEM}:snakepit-{who}"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": subject, "resourceAttributes": what}}
    answer = await admin.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"]) is not no


async def test_the_operator_can_give_nobody_another_role_than_a_callers(world: World, given: list[dict[str, Any]]) -> None:
    """Whoever takes the operator over can let others call pools, and can't make them anything else."""
    binding: Any = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "mine"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": NOBODY}],
    }
    with pytest.raises(KubeError, match="attempting to grant RBAC permissions not currently held"):
        await world.kube.create(ROLE_BINDINGS, world.admin.namespace, binding)
    binding["roleRef"]["name"] = "snakepit-caller"
    await world.kube.create(ROLE_BINDINGS, world.admin.namespace, binding)
