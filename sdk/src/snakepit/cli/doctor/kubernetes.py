"""Looks at a release in a cluster, by kubectl and the user's own login: each look within its time, and none with more rights than that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from snakepit.cli.config import Kube
from snakepit.cli.doctor.objects import Cluster, Crd, Namespace, Pod, Policy, Pool, Unseen, Workload
from snakepit.cli.kubectl import asked, everywhere
from snakepit.cli.release import Service
from snakepit.errors import SnakepitError

LOOK_SECONDS = 10.0

AT_ONCE = 4
"""kubectls that run at one time."""

CRD = "snakepools.snakepit.dev"
PART = "app.kubernetes.io/part-of=snakepit"

KINDS = "deployments,statefulsets,pods,networkpolicies"
"""What a release is looked at for, by one kubectl: each takes its time to begin."""

OBJECTS = "all of the release's workloads, pods and NetworkPolicies"

T = TypeVar("T")


class _List(msgspec.Struct):
    items: list[Any] = []


class Look:
    """One look at a cluster. `kubectl`: the words that begin its command lines."""

    def __init__(self, kubectl: list[str], service: Service, kube: Kube) -> None:
        self._kubectl, self._service, self._kube = kubectl, service, kube
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._unseen: list[Unseen] = []
        self._missing: set[str] = set()

    async def at(self, pool: str | None) -> Cluster:
        """All of it, or of the pools this one. It raises nothing: what it can't see is in `unseen`."""
        home, own = ("-n", self._service.namespace), f"{PART},app.kubernetes.io/instance={self._service.release}"
        everywhere = f"{PART},app.kubernetes.io/component=operator"
        objects, operators, crds, pools, callers = await asyncio.gather(
            self._listed(OBJECTS, KINDS, *home, "-l", own),
            self._list("operators of other releases", Workload, "deployments", "--all-namespaces", "-l", everywhere),
            self._one("the CRD", Crd, "customresourcedefinition", CRD),
            self._pools(pool),
            self._callers(),
        )
        return Cluster(
            self._service.namespace,
            self._service.name,
            workloads=self._converted(OBJECTS, Workload, _of(objects, "Deployment", "StatefulSet")),
            operators=operators,
            pods=self._converted(OBJECTS, Pod, _of(objects, "Pod")),
            crd=crds[0] if crds else None,
            is_crd_missing="the CRD" in self._missing,
            pools=pools,
            policies=self._converted(OBJECTS, Policy, _of(objects, "NetworkPolicy")),
            caller=callers[0] if callers else None,
            unseen=tuple(sorted(self._unseen, key=lambda each: each.what)),
        )

    async def _pools(self, pool: str | None) -> tuple[Pool, ...]:
        """Of all namespaces, or of one where the login may not list all."""
        if pool is not None:
            namespace, _, name = pool.partition("/")
            return await self._one(f"the SnakePool {pool}", Pool, CRD, name, "-n", namespace)
        text, problem = await everywhere(lambda *where: self._ask(CRD, *where), self._kube.namespace)
        return self._converted("SnakePools", Pool, self._items("SnakePools", text, problem))

    async def _callers(self) -> tuple[Namespace, ...]:
        name = self._kube.namespace
        return await self._one(f"the namespace {name}", Namespace, "namespace", name) if name else ()

    async def _list(self, what: str, kind: type[T], *words: str) -> tuple[T, ...]:
        return self._converted(what, kind, await self._listed(what, *words))

    async def _listed(self, what: str, *words: str) -> list[Any]:
        """Of several kinds, those that the login may list."""
        return self._items(what, *await self._ask(*words))

    async def _one(self, what: str, kind: type[T], *words: str) -> tuple[T, ...]:
        """A list of one, or of none."""
        text, problem = await self._ask(*words)
        if "(NotFound)" in problem:
            self._missing.add(what)
            return ()
        return self._converted(what, kind, self._items(what, b'{"items": [' + text + b"]}", problem))

    def _items(self, what: str, text: bytes, problem: str) -> list[Any]:
        if "the server doesn't have a resource type" in problem:
            return []  # That the CRD is missing is said by itself.
        if problem:
            self._unseen.append(Unseen(what, problem.removeprefix("(Forbidden): ")))
        try:
            return msgspec.json.decode(text, type=_List).items if text else []
        except msgspec.MsgspecError as error:
            self._unseen.append(Unseen(what, f"kubectl's answer can't be read: {error}"))
            return []

    def _converted(self, what: str, kind: type[T], items: Iterable[Any]) -> tuple[T, ...]:
        try:
            return tuple(msgspec.convert(each, kind) for each in items)
        except msgspec.ValidationError as error:
            self._unseen.append(Unseen(what, f"kubectl's answer can't be read: {error}"))
            return ()

    async def _ask(self, *words: str) -> tuple[bytes, str]:
        argv = [*self._kubectl, "get", *words, "-o", "json", f"--request-timeout={LOOK_SECONDS:.0f}s"]
        async with self._turns:
            try:
                return await asked(argv, LOOK_SECONDS)
            except SnakepitError as error:
                return b"", error.message


def _of(objects: Iterable[Any], *kinds: str) -> list[Any]:
    return [each for each in objects if isinstance(each, dict) and each.get("kind") in kinds]
