"""What must hold whenever an operator changes something, judged by what it had read, and by what is so."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from simulation.operator_api import EPOCH, NAMESPACE, Client, Look, Server
from simulation.operator_plane import Plane

from snakepit.v1 import fleet_pb2
from snakepit_operator.events import COMBINED
from snakepit_operator.kube import PODS, KubeError, Object, Resource
from snakepit_operator.pods import HASH_LABEL, ORDINAL_LABEL, POOL_LABEL
from snakepit_operator.views import pod_view

STORM_SECONDS = 120.0
STORM = 9
"""So many pods may be made in that time in place of others that failed: at once, then after 5 s, 10 s, 20 s, 40 s, and with each edit."""
ASKED = 10
"""So often a pod of one name that is refused may be asked for in that time: after 1 s, 2 s, 4 s and so on."""
FAILED_SECONDS = 70.0
"""After a failed request, a status may tell of a decision that was made so long before."""
DUEL_SECONDS = 40.0
"""In which one that leads looks at each pool, at the latest."""
LOOKED_MOST = 110
"""So often at most one process looks at one pool in ten seconds, whatever happens: a tenth of a second lies between two looks."""
SPARED_SECONDS = 4.9
"""What one has made, another one that has led for longer deletes no sooner, unless it is broken."""
DISPUTED_MOST = 12
"""So often it finds in ten seconds that another one has written the pool's status."""
LOOKED_SECONDS = 10.0
LOOKED = 40
"""So often a pool is looked at in that time at most, while neither it nor a pod changes."""


class Limits(NamedTuple):
    """Of a spec: how many pods are wanted, how many there may be while it rolls, and how many must serve."""

    wanted: int
    most: int
    least: int


def limits(spec: Object) -> Limits:
    """Of a pool that is sized by its calls: the most pods that it may come to, and the fewest that must serve."""
    fewest, most = sizes(spec)
    surge, missing = _shares(spec, most)
    paused = (spec.get("rollout") or {}).get("paused")
    return Limits(most, most + (0 if paused else surge), max(0, fewest - (missing if most == fewest else _shares(spec, fewest)[1])))


def sizes(spec: Object) -> tuple[int, int]:
    """The smallest and the largest number of pods that there should be."""
    if spec.get("suspended"):
        return 0, 0
    policy = spec.get("autoscaling")
    return (policy.get("minReplicas", 1), policy["maxReplicas"]) if policy else (spec.get("replicas", 2),) * 2


def _shares(spec: Object, wanted: int) -> tuple[int, int]:
    rollout = spec.get("rollout") or {}
    surge = share(rollout.get("maxSurge", "25%"), wanted, math.ceil)
    missing = share(rollout.get("maxUnavailable", 0), wanted, math.floor)
    return surge, 1 if surge == missing == 0 else missing


def share(part: int | str, whole: int, rounding: Callable[[float], int]) -> int:
    return part if isinstance(part, int) else rounding(whole * int(part[:-1]) / 100)


def active(pods: Iterable[Object]) -> list[Object]:
    return [each for each in pods if not each["metadata"].get("deletionTimestamp") and not finished(each)]


def finished(pod: Object) -> bool:
    return phase(pod) in ("Failed", "Succeeded")


def phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def owner(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or ()
    return str(owners[0]["uid"]) if owners else ""


def ordinal(pod: Object) -> str:
    return str(pod["metadata"]["labels"][ORDINAL_LABEL])


def template(pod: Object) -> str:
    return str(pod["metadata"]["labels"][HASH_LABEL])


def uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


class Made(NamedTuple):
    """A pod that some process made."""

    at: float
    by: Client
    pod: Object
    late: bool


class Rules:
    """`problems`: what was broken. `writes`: when something was written for a pool, the Lease aside."""

    def __init__(self, server: Server, plane: Plane, note: Callable[[str], None]) -> None:
        self._server, self._plane, self._note = server, plane, note
        self.problems: list[str] = []
        self.broken = asyncio.Event()
        self.writes_at: deque[tuple[float, str]] = deque(maxlen=50)
        self.ours: set[str] = set()
        """Uids of the pods that operators have made."""
        self._deleted_by: dict[str, tuple[Client, int]] = {}
        """Who asked for a pod's end, and in which reign, by its uid."""
        self._names: dict[tuple[str, str, str, tuple[str, ...]], str] = {}
        self._made: deque[Made] = deque(maxlen=200)
        self._replaced: dict[tuple[str, str, str], deque[float]] = {}
        self._asked: dict[tuple[str, int, str, int], deque[float]] = {}
        self._looked: dict[str, deque[float]] = {}
        self._lookers: dict[str, dict[str, float]] = {}
        self._looked_by: dict[tuple[str, int, str], deque[float]] = {}
        self._said: dict[tuple[str, int, str], Object] = {}
        self._disputed: dict[tuple[str, int, str], deque[float]] = {}
        self._decided: dict[tuple[str, int, str], float] = {}
        """When each first did something about a pool, in each of its reigns; by the pool's uid."""

    def _require(self, so: bool, sentence: str) -> None:
        if not so:
            self._note(f"BROKEN: {sentence}")
            self.problems.append(sentence)
            self.broken.set()

    # ---- pods that are made

    def creates(self, who: Client, look: Look | None, body: Object, late: bool) -> None:
        metadata = body["metadata"]
        self._note(f"{who.name} creates {metadata['name']}{' late' if late else ''}")
        if look is None or look.pods is None:
            self._require(False, f"{metadata['name']} is made of a pool that was not looked at")
            return
        of = look.pool["metadata"]
        self._require(owner(body) == of["uid"], f"{metadata['name']} belongs to another pool than {of['name']} {of['uid']}")
        self._require(not of.get("deletionTimestamp"), f"{metadata['name']} is made for a pool that is being deleted")
        before = tuple(sorted(uid(each) for each in look.pods if owner(each) == of["uid"] and ordinal(each) == ordinal(body)))
        key = (of["uid"], ordinal(body), template(body), before)
        name = self._names.setdefault(key, metadata["name"])
        self._require(name == metadata["name"], f"who sees the same makes {name} and {metadata['name']}")
        if not late:
            self._require(int(ordinal(body)) < limits(look.pool["spec"]).wanted * 2 + 8, f"{metadata['name']} has a far too high ordinal")

    def created(self, who: Client, look: Look | None, made: Object, late: bool) -> None:
        self.ours.add(uid(made))
        self._wrote(made)
        self._decides(who, owner(made))
        if look is None or look.pods is None:
            return
        look.made.append(made)
        now = self._server.now()
        of = look.pool["metadata"]["uid"]
        mine = active(each for each in look.pods if owner(each) == of and uid(each) not in look.deleted)
        self._within(look, [*mine, *look.made], made, "by what it has read")
        others = any(each.by is not who or each.late for each in self._made if each.at >= look.listed and owner(each.pod) == of)
        there = active(each for each in self._server.pods().values() if owner(each) == of)
        if not late and not others:
            self._within(look, there, made, "in truth")
        self._made.append(Made(now, who, made, late))
        self._storm(look, made)

    def _within(self, look: Look, pods: list[Object], made: Object, where: str) -> None:
        limit, newest = limits(look.pool["spec"]), template(made)
        new = [each for each in pods if template(each) == newest]
        most = limit.most if len(new) < len(pods) else limit.wanted
        name = made["metadata"]["name"]
        self._require(len(pods) <= most, f"{name} makes {len(pods)} pods, {most} are the most, {where}")
        self._require(len(new) <= limit.wanted, f"{name} makes {len(new)} pods of its template, {limit.wanted} are wanted, {where}")
        doubles = [each for each in new if ordinal(each) == ordinal(made)]
        self._require(len(doubles) < 2, f"{name} and {[each['metadata']['name'] for each in doubles]} have one ordinal, {where}")

    def _storm(self, look: Look, made: Object) -> None:
        """In place of one that has failed."""
        before = [each for each in look.pods or () if ordinal(each) == ordinal(made) and template(each) == template(made)]
        if not any(finished(each) or not ready(each) for each in before):
            return
        key = owner(made), ordinal(made), template(made)
        if self._duel(made["metadata"]["labels"][POOL_LABEL]):
            self._replaced.pop(key, None)
        count = self._within_time(self._replaced.setdefault(key, deque()), STORM_SECONDS)
        self._require(count <= STORM, f"{made['metadata']['name']} is number {count} in place of what fails, in two minutes")

    def refused(self, who: Client, look: Look | None, body: Object, error: KubeError) -> None:
        self._note(f"  refused: {error.reason}")
        if error.exists or look is None:
            return
        name, generation = body["metadata"]["name"], look.pool["metadata"]["generation"]
        count = self._within_time(self._asked.setdefault((who.name, who.reign, name, generation), deque()), STORM_SECONDS)
        self._require(count <= ASKED, f"{name} is asked for {count} times in two minutes, and refused")

    def looks(self, who: Client, name: str) -> None:
        """It reads a pool."""
        often = self._within_time(self._looked_by.setdefault((who.name, who.reign, name), deque()), LOOKED_SECONDS)
        self._require(often <= LOOKED_MOST, f"{who.name} looks at {name} {often} times in {LOOKED_SECONDS:g} s")
        self._lookers.setdefault(name, {})[who.name] = self._server.now()
        if self._duel(name):
            self.changed(name)
        count = self._within_time(self._looked.setdefault(name, deque()), LOOKED_SECONDS)
        self._require(count <= LOOKED, f"{who.name} looks at {name} {count} times in {LOOKED_SECONDS:g} s")

    def read(self, who: Client, pool: Object) -> None:
        """Two that lead at a time don't take turns as fast as they can."""
        key = who.name, who.reign, pool["metadata"]["uid"]
        before, self._said[key] = self._said.get(key, pool.get("status")), pool.get("status")
        if before != pool.get("status"):
            often = self._within_time(self._disputed.setdefault(key, deque()), LOOKED_SECONDS)
            name = pool["metadata"]["name"]
            self._require(often <= DISPUTED_MOST, f"{who.name} finds {often} times in {LOOKED_SECONDS:g} s that another writes of {name}")

    def _duel(self, name: str) -> bool:
        """Two lead, or did just now: what one does wakes the other, and they need not agree."""
        return sum(at > self._server.now() - DUEL_SECONDS for at in self._lookers.get(name, {}).values()) > 1

    def changed(self, name: str) -> None:
        """Others have changed that pool, or a pod of it."""
        self._looked.pop(name, None)

    def _within_time(self, times: deque[float], seconds: float) -> int:
        """One more now: so often within that time."""
        times.append(now := self._server.now())
        while times[0] < now - seconds:
            times.popleft()
        return len(times)

    # ---- pods that are deleted

    def deletes(self, who: Client, look: Look | None, name: str, uid_: str, late: bool) -> None:
        found = self._server.pods().get(name)
        if look is not None:
            look.deleted.add(uid_)
        if found is None or uid(found) != uid_:
            self._require(bool(uid_), f"{name} is deleted, whatever its uid is")
            return
        if found["metadata"].get("deletionTimestamp"):
            return
        self._note(f"{who.name} deletes {name}{' late' if late else ''}")
        self._wrote(found)
        self._require(uid_ in self.ours, f"{name} is deleted, and is not ours")
        if look is None or look.pods is None:
            self._require(False, f"{name} is deleted of a pool that was not looked at")
            return
        self._deleted_by[uid_] = who, look.reign
        seen = next((each for each in look.pods if uid(each) == uid_), None)
        if seen is None:
            self._require(False, f"{name} is deleted and was not seen")
            return
        self._require(owner(seen) == look.pool["metadata"]["uid"], f"{name} is deleted, and is of another pool")
        if late or finished(seen):
            return
        stuck = pod_view(seen).stuck or uid_ in who.told_of
        if uid_ not in look.lost and uid_ not in look.draining and not stuck:
            self._spared(who, look, name, uid_)
        could = phase(seen) == "Running"
        self._require(look.heard or not could, f"{name} is deleted, may be serving, and no replica is heard")
        if ready(seen) and not late:
            self._cordoned(who, name, uid_)
        leaves = uid_ in look.draining or (look.reign, uid_) in who.asked
        if ready(seen) and uid_ not in look.lost and not self._lost(name, uid_) and not leaves:
            self._enough(look, name)
            self._idle_first(look, seen)

    def _decides(self, who: Client, pool: str) -> None:
        self._decided.setdefault((who.name, who.reign, pool), self._server.now())

    def _spared(self, who: Client, look: Look, name: str, uid_: str) -> None:
        """Two that lead at a time don't undo at once what the other one does. What is stuck by the clock of one may go.

        A pod that it has asked for itself, and that another one has made first, is what both wanted.
        """
        began = self._decided.get((who.name, look.reign, look.pool["metadata"]["uid"]))
        made = next((each for each in self._made if uid(each.pod) == uid_), None)
        if made is None or made.by is who or began is None or began >= made.at or (look.reign, name) in who.meant:
            return
        age = self._server.now() - made.at
        self._require(age >= SPARED_SECONDS, f"{name} is deleted {age:.1f} s after {made.by.name} has made it")

    def _cordoned(self, who: Client, name: str, uid_: str) -> None:
        for replica in self._plane.uncordoned(who, uid_):
            self._require(False, f"{name} is deleted, and {replica} sends it calls")

    def _lost(self, name: str, uid_: str) -> bool:
        capsule = self._plane.capsules.get(uid_)
        return capsule is None or capsule.silent is not None

    def _enough(self, look: Look, name: str) -> None:
        """Of those that it saw serving, and has not deleted."""
        of = look.pool["metadata"]["uid"]
        left = [each for each in active(look.pods or ()) if owner(each) == of and uid(each) not in look.deleted]
        serving = [each for each in left if ready(each) or uid(each) in look.serving]
        least = limits(look.pool["spec"]).least
        self._require(len(serving) >= least, f"{name} is deleted: {len(serving)} serve, {least} must")

    def _idle_first(self, look: Look, chosen: Object) -> None:
        """Of those alike, whoever runs no call."""
        if look.serving.get(uid(chosen)) != {True}:
            return
        of, left = look.pool["metadata"]["uid"], active(look.pods or ())
        others = [each for each in left if owner(each) == of and uid(each) not in look.deleted and ready(each)]
        idle = [each for each in others if template(each) == template(chosen) and look.serving.get(uid(each)) == {False}]
        look.busy.append((chosen["metadata"]["name"], {uid(each) for each in idle}))

    def ends(self, look: Look) -> None:
        """All that was decided by it has been asked for."""
        for name, idle in look.busy:
            self._require(idle <= look.asked, f"{name} is deleted and runs calls, others run none")

    # ---- the rest

    def told(self, who: Client, reign: int, request: fleet_pb2.SyncRequest) -> None:
        """What a replica hears of it."""
        for uid_ in request.evicted_capsules:
            found = next((each for each in self._server.pods().values() if uid(each) == uid_), None)
            ours = found is not None and self._deleted_by.get(uid_) == (who, reign)
            self._require(not ours, f"{uid_} is said to be evicted, and {who.name} deletes it itself")

    def writes(self, who: Client, resource: Resource, verb: str, name: str, body: Object) -> None:
        self._require(resource is not PODS, f"{name} is changed")
        if body.get("reason") == "CapsulesCreated":
            self._announced(str(body["message"]))
        if verb == "status":
            body = body["status"]
            self._shrinks(who, who.looks.get(f"{NAMESPACE}/{name}"), body)
        if resource.plural in ("snakepools", "events", "poddisruptionbudgets"):
            self._note(f"{who.name} {verb} {resource.plural} {name} {body.get('reason') or ''} {body.get('message') or ''}")
            self.writes_at.append((self._server.now(), f"{verb} {resource.plural} {name}"))

    def wrote(self, who: Client, resource: Resource, verb: str, found: Object) -> None:
        """It has taken effect."""
        if verb == "status":
            metadata = found["metadata"]
            name = f"{metadata['namespace']}/{metadata['name']}"
            known = look.pool["metadata"]["uid"] if (look := who.looks.get(name)) is not None else who.listed.get(name)
            self._decides(who, metadata["uid"])
            self._said[who.name, who.reign, metadata["uid"]] = found["status"]
            self._require(known == metadata["uid"], f"{metadata['name']} is given the status of another pool of its name")

    def _shrinks(self, who: Client, look: Look | None, status: Object) -> None:
        """A pool that is sized by its calls: not while a replica may know of more of them, and not to nothing while there is one."""
        before = (look.pool.get("status") or {}) if look is not None else {}
        if look is None or not look.pool["spec"].get("autoscaling") or status.get("observedGeneration") != before.get("observedGeneration"):
            return
        now, was = status.get("desiredReplicas"), before.get("desiredReplicas")
        if now is None or was is None or now >= was:
            return
        name = look.pool["metadata"]["name"]
        # A decision of before, whose report went wrong, was made of what was heard then.
        unheard = [replica for replica, since in look.unheard.items() if replica in who.unheard() and who.failed_at < since]
        self._require(not unheard, f"{name} goes from {was} to {now} capsules, and nothing is heard of {unheard}")
        failed = self._server.now() - EPOCH - who.failed_at < FAILED_SECONDS
        demanded = look.demanded and f"{NAMESPACE}/{name}" in who.demanded() and not failed
        self._require(now > 0 or not demanded, f"{name} goes to zero, and a call waits or runs")

    def _announced(self, message: str) -> None:
        names = message.removeprefix(COMBINED).removeprefix("Created ").partition(" and ")[0].split(", ")
        made = {each["metadata"]["name"] for each in self._server.uids.values()}
        self._require(made.issuperset(names), f"{message}, it is said, and not all of them were")

    def _wrote(self, pod: Object) -> None:
        name = pod["metadata"]["labels"][POOL_LABEL]
        self.writes_at.append((self._server.now(), f"a pod of {name}"))

    def since(self, when: float) -> list[str]:
        return [what for at, what in self.writes_at if at > when]
