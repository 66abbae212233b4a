"""The API server that simulated operators ask, and the bad weather between it and each of their processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from snakepit_operator.kube import EVENTS, LEASES, PODS, POOLS, KubeError, Object, Resource
from snakepit_operator.pods import POOL_LABEL
from support.pretend_api import PretendApi, copied

EPOCH = 1_796_000_000.0
NAMESPACE = "default"
TIMEOUT_SECONDS = 10.0
"""After which the operator's client gives an answer up."""

READ_FAULTS = ("refused", "too many", "internal", "silent", "slow")
WRITE_FAULTS = (*READ_FAULTS, "conflict", "done and silent", "done and internal", "done late")
QUOTA = KubeError(403, "Forbidden", 'pods "x" is forbidden: exceeded quota: few, requested: pods=1, used: pods=3, limited: pods=3')
ADMISSION = KubeError(400, "BadRequest", 'admission webhook "validate.example" denied the request: no')
INVALID = KubeError(422, "Invalid", 'Pod "x" is invalid: spec.containers[0].image: Required value')
REFUSALS = (QUOTA, ADMISSION, INVALID)


def pool_of(kind: str, found: Object) -> str:
    """Whose turn it is after a change of that object; empty: nobody's."""
    metadata = found["metadata"]
    name = metadata["name"] if kind == POOLS.plural else (metadata.get("labels") or {}).get(POOL_LABEL) if kind == PODS.plural else ""
    return f"{metadata['namespace']}/{name}" if name else ""


class Server(PretendApi):
    """`pods_most`: the quota. `on_change` is told the kind and the object of each change, `on_delete` of each deletion's beginning."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self.now = now
        self.on_change: Callable[[str, Object], None] = lambda kind, found: None
        self.pods_most: int | None = None
        self.uids: dict[str, Object] = {}
        """Every pod that there ever was, as it was made."""
        self._copies: dict[tuple[str, str], tuple[Object, Object]] = {}
        """Of each pool and pod that somebody asked for, what was given to all who did."""

    def stamp(self) -> str:
        return datetime.fromtimestamp(int(self.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def pods(self) -> dict[str, Object]:
        return self.of(PODS.plural)

    def pools(self) -> dict[str, Object]:
        return self.of(POOLS.plural)

    def patch(self, resource: Resource, name: str, uid: str, **status: Any) -> None:
        """By a kubelet, or the scheduler: the status of that very object, where it is still there."""
        found = self.of(resource.plural).get(name)
        if found is not None and found["metadata"]["uid"] == uid:
            self._write(resource, found, {**found, "status": {**(found.get("status") or {}), **status}})

    def bind(self, name: str, uid: str, node: str) -> None:
        found = self.pods().get(name)
        if found is not None and found["metadata"]["uid"] == uid:
            self._write(PODS, found, {**found, "spec": {"nodeName": node}})

    def remove(self, resource: Resource, name: str, uid: str) -> None:
        """It is gone for good."""
        found = self.of(resource.plural).get(name)
        if found is not None and found["metadata"]["uid"] == uid:
            del self.of(resource.plural)[name]
            self.on_change(resource.plural, found)

    def _given(self, found: Object) -> Object:
        """One copy of it for all, as copying is dear: whoever changes it is found out."""
        metadata = found["metadata"]
        if "uid" not in metadata or "holderIdentity" in (found.get("spec") or ()):
            return copied(found)
        key = metadata["uid"], metadata["name"]
        before = self._copies.get(key)
        if before is None or before[0] is not found:
            assert before is None or before[0] == before[1], f"{metadata['name']} as it was read was changed: {before}"
            before = self._copies[key] = found, copied(found)
        return before[1]

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        if resource is PODS:
            if self.pods_most is not None and len(self.pods()) >= self.pods_most:
                raise QUOTA
            body = {**body, "spec": {}}  # Nobody here reads the rest, and it is copied often.
        return await super().create(resource, namespace, body)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "", grace: int | None = None) -> None:
        found = self.of(resource.plural, namespace).get(name)
        await super().delete(resource, namespace, name, uid)
        if found is not None and self.of(resource.plural, namespace).get(name) is None:
            self.on_change(resource.plural, found)

    def _make(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        made = super()._make(resource, namespace, name, body)
        if resource is PODS:
            self.uids[made["metadata"]["uid"]] = made
        self.on_change(resource.plural, self.of(resource.plural, namespace)[name])
        return made

    def _write(self, resource: Resource, before: Object, after: Object) -> Object:
        version = before["metadata"].get("resourceVersion")
        made = super()._write(resource, before, after)
        if made["metadata"].get("resourceVersion") != version:
            self.on_change(resource.plural, made)
        return made


class Weather:
    """Between a process and the server. `faults`: the share of requests that go wrong. `away`: all of them do."""

    def __init__(self) -> None:
        self.faults = 0.0
        self.crashes = 0.0
        self.slow = 0.0
        self.away = False


class Look:
    """What a process has read of one pool, for one decision, and what it has done about it since."""

    def __init__(self, pool: Object, at: float, reign: int) -> None:
        self.pool, self.at, self.reign = pool, at, reign
        self.pods: list[Object] | None = None
        self.listed = at
        self.heard = False
        self.serving: dict[str, set[bool]] = {}
        """By the uid of each capsule that replicas have told it to be serving: did it run calls then?"""
        self.lost: set[str] = set()
        """Uids of the capsules that a replica has told it to be lost, also if they have come back since."""
        self.draining: set[str] = set()
        """Those that were told to drain: a leader before it was about to delete them."""
        self.unheard: dict[str, float] = {}
        """Replicas of the control plane that it heard nothing of when it read the pods, and since when."""
        self.demanded = False
        """A replica had told it then that a call of the pool waits or runs."""
        self.made: list[Object] = []
        self.deleted: set[str] = set()
        self.asked: set[str] = set()
        """Uids of the pods whose end it has asked for, whatever became of that."""
        self.busy: list[tuple[str, set[str]]] = []
        """Names of those that ran calls, each with the uids of those alike that ran none."""


class Witness(Protocol):
    """Who is told what a process is about to change, in the moment in which it takes effect."""

    def creates(self, who: Client, look: Look | None, body: Object, late: bool) -> None: ...
    def created(self, who: Client, look: Look | None, made: Object, late: bool) -> None: ...
    def refused(self, who: Client, look: Look | None, body: Object, error: KubeError) -> None: ...
    def looks(self, who: Client, name: str) -> None: ...
    def read(self, who: Client, pool: Object) -> None: ...
    def ends(self, look: Look) -> None: ...
    def deletes(self, who: Client, look: Look | None, name: str, uid: str, late: bool) -> None: ...
    def writes(self, who: Client, resource: Resource, verb: str, name: str, body: Object) -> None: ...
    def wrote(self, who: Client, resource: Resource, verb: str, found: Object) -> None: ...


class Client:
    """`Kube`, for one process, which dies between any two requests."""

    def __init__(self, name: str, server: Server, chance: random.Random, weather: Weather, witness: Witness) -> None:
        self.name, self.server, self.chance, self.weather, self.witness = name, server, chance, weather, witness
        self.dead = False
        self.usurps = False
        """It is told that the Lease is its own, whatever is so."""
        self.cut = False
        self.on_crash: Callable[[], None] = lambda: None
        self.reign = 0
        """How often it has begun to lead: what it knew before is forgotten."""
        self.listens: Callable[[], dict[str, int] | None] = lambda: None
        """The capsules that serve with their running calls, by the last answers on streams that go on; None: there is no answer."""
        self.lost: Callable[[], set[str]] = set
        self.draining: Callable[[], set[str]] = set
        self.unheard: Callable[[], dict[str, float]] = dict
        self.demanded: Callable[[], set[str]] = set
        """Pools of which a call waits or runs, by the last answers."""
        self.failed_at = -1.0
        """When a request of it went wrong last, by the loop's clock."""
        self.looks: dict[str, Look] = {}
        self.listed: dict[str, str] = {}
        """Pools of its last list, with their uids: what it has not looked at yet it knows from there."""
        self.asked: set[tuple[int, str]] = set()
        """In which reign it has asked for a pod's end, by its uid, in looks before: that pod drains."""
        self.meant: set[tuple[int, str]] = set()
        """In which reign it has asked for a pod, by its name, whatever became of that: who makes it then does what this one meant to."""
        self.told_of: set[str] = set()
        """Uids of the pods of which it has read, in events, what keeps them."""

    def hears(self) -> None:
        """A replica of the control plane has answered it."""
        self._heard(*self.looks.values())

    def _heard(self, *looks: Look) -> None:
        serving, lost, draining = self.listens(), self.lost(), self.draining()
        for look in looks:
            look.heard = look.heard or serving is not None
            look.lost |= lost
            look.draining |= draining
            for uid, running in (serving or {}).items():
                look.serving.setdefault(uid, set()).add(running > 0)

    async def serves(self, resource: Resource) -> bool:
        return bool(await self._ask("get", lambda late: self.server.serves(resource)))

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        if resource is LEASES and self.usurps:
            return {"metadata": {"name": name, "namespace": namespace}, "spec": {"holderIdentity": self.name}}
        if resource is POOLS:
            self.witness.looks(self, name)
        at = self.server.now()
        found: Object = await self._ask("get", lambda late: self.server.get(resource, namespace, name))
        if resource is POOLS:
            self.witness.read(self, found)
            if before := self.looks.get(f"{namespace}/{name}"):
                self.witness.ends(before)
                self.asked |= {(before.reign, uid) for uid in before.asked}
            self.looks[f"{namespace}/{name}"] = Look(found, at, self.reign)
        return found

    async def list(self, resource: Resource, namespace: str | None, selector: str = "", fields: str = "") -> list[Object]:
        at = self.server.now()
        found: list[Object] = await self._ask("list", lambda late: self.server.list(resource, namespace, selector, fields))
        if resource is POOLS:
            self.listed = {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each["metadata"]["uid"] for each in found}
        if resource is PODS and (look := self.looks.get(f"{namespace}/{selector.partition('=')[2]}")):
            look.pods, look.listed = found, at
            self._heard(look)
            look.unheard, look.demanded = self.unheard(), f"{namespace}/{selector.partition('=')[2]}" in self.demanded()
        if resource is EVENTS and found:
            self.told_of.add(fields.partition("=")[2])
        return found

    async def revision(self, resource: Resource, namespace: str | None) -> int:
        return int(await self._ask("list", lambda late: self.server.revision(resource, namespace)))

    async def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        look = self.looks.get(pool_of(resource.plural, body)) if resource is PODS else None
        self.meant.add((self.reign, body["metadata"]["name"]))

        async def act(late: bool) -> Object:
            if resource is not PODS:
                self.witness.writes(self, resource, "create", body["metadata"]["name"], body)
                return await self.server.create(resource, namespace, body)
            self.witness.creates(self, look, body, late)
            try:
                made = await self.server.create(resource, namespace, body)
            except KubeError as error:
                self.witness.refused(self, look, body, error)
                raise
            self.witness.created(self, look, made, late)
            return made

        made: Object = await self._ask("create", act)
        return made

    async def replace(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        if resource is LEASES and self.usurps:
            return body
        return await self._write(resource, "replace", name, body, lambda: self.server.replace(resource, namespace, name, body))

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str = "", grace: int | None = None) -> None:
        found = self.server.uids.get(uid) or self.server.of(resource.plural, namespace).get(name)
        look = self.looks.get(pool_of(resource.plural, found)) if found and resource is PODS else None

        if look is not None:
            look.asked.add(uid)

        async def act(late: bool) -> None:
            self.witness.deletes(self, look, name, uid, late)
            await self.server.delete(resource, namespace, name, uid)

        await self._ask("delete", act)

    async def apply(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        return await self._write(resource, "apply", name, body, lambda: self.server.apply(resource, namespace, name, body))

    async def apply_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        return await self._write(resource, "status", name, body, lambda: self.server.apply_status(resource, namespace, name, body))

    async def merge_status(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        return await self._write(resource, "status", name, body, lambda: self.server.merge_status(resource, namespace, name, body))

    async def merge(self, resource: Resource, namespace: str, name: str, body: Object) -> Object:
        return await self._write(resource, "merge", name, body, lambda: self.server.merge(resource, namespace, name, body))

    async def _write(self, resource: Resource, verb: str, name: str, body: Object, write: Callable[[], Any]) -> Object:
        async def act(late: bool) -> Object:
            self.witness.writes(self, resource, verb, name, body)
            found: Object = await write()
            self.witness.wrote(self, resource, verb, found)
            return found

        made: Object = await self._ask(verb, act)
        return made

    # ---- the way there and back

    async def _ask(self, verb: str, act: Callable[[bool], Any]) -> Any:
        """`act` is told whether it takes effect later than anybody waits for it."""
        try:
            return await self._answer(verb, act)
        except KubeError:
            self.failed_at = asyncio.get_running_loop().time()
            raise

    async def _answer(self, verb: str, act: Callable[[bool], Any]) -> Any:
        await self._step()
        fault = self._fault(verb)
        match fault:
            case "refused":
                raise KubeError(0, "Unreachable", "the API server doesn't answer: refused")
            case "too many":
                raise KubeError(429, "TooManyRequests", "please try again later")
            case "internal":
                raise KubeError(500, "InternalError", "etcdserver: leader changed")
            case "conflict":
                raise KubeError(409, "Conflict", "the object has been modified")
            case "silent":
                await self._silence()
            case "done late":
                asyncio.get_running_loop().call_later(self.chance.random() * 40, self._late, act)
                await self._silence()
        answer = await act(False)
        if fault == "done and internal":
            raise KubeError(500, "InternalError", "etcdserver: request timed out")
        if fault == "done and silent":
            await self._silence()
        if fault == "slow":
            await asyncio.sleep(self.chance.random() * 9)
        await self._step()
        return answer

    def _late(self, act: Callable[[bool], Any]) -> None:
        """A request that was on its way: its sender may be dead by now."""

        async def run() -> None:
            try:
                await act(True)
            except KubeError:
                return  # Nobody waits for the answer.

        task = asyncio.get_running_loop().create_task(run(), name="late")
        task.add_done_callback(lambda done: done.result())

    def _fault(self, verb: str) -> str:
        if self.weather.away or self.cut:
            return self.chance.choice(("refused", "refused", "silent"))
        if self.chance.random() >= self.weather.faults:
            return ""
        return self.chance.choice(READ_FAULTS if verb in ("get", "list") else WRITE_FAULTS)

    async def _step(self) -> None:
        """Time passes, or the process ends here: what it would do then, while it is cancelled, reaches nobody."""
        if self.dead:
            raise KubeError(0, "Unreachable", "this process is dead")
        if self.weather.crashes and self.chance.random() < self.weather.crashes:
            self.on_crash()
            await asyncio.get_running_loop().create_future()
        if self.weather.slow and self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.random() * self.weather.slow)

    async def _silence(self) -> None:
        await asyncio.sleep(TIMEOUT_SECONDS)
        raise KubeError(0, "Unreachable", "the API server doesn't answer: no answer in time")


def waiting(name: str, reason: str, message: str = "") -> Object:
    """The status of a container that doesn't run."""
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


def failed_mount(server: Server, pod: Object) -> None:
    """The kubelet's word for what keeps a pod."""
    name = f"{pod['metadata']['name']}.mount"
    stamp = server.stamp()
    server.of(EVENTS.plural)[name] = {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "involvedObject": {"uid": pod["metadata"]["uid"]},
        "type": "Warning",
        "reason": "FailedMount",
        "message": "no such volume",
        "lastTimestamp": stamp,
    }
