"""Scheduler, kubelets, garbage collector and node controller, as far as an operator can tell: what becomes of a pod once it is made."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

from simulation.operator_api import Server, failed_mount, waiting

from snakepit_operator.kube import PODS, Object
from snakepit_operator.pods import AVOIDS_ANNOTATION, POOL_LABEL, WORKER

TROUBLES = ("image", "schedule", "volume", "crash", "setup", "ends", "sidecar")
GONE_SECONDS = 40.0
"""After which the node controller says of a node's pods that they aren't ready."""
EVICTED_SECONDS = 300.0
"""After which it deletes them."""


class Life:
    """One pod, as it really is. `serving`: its worker runs and its agent can be reached. `ready`: as Kubernetes says."""

    def __init__(self, pod: Object, trouble: str, born: float) -> None:
        metadata = pod["metadata"]
        self.born = born
        self.name, self.uid = str(metadata["name"]), str(metadata["uid"])
        self.pool = f"{metadata['namespace']}/{metadata['labels'][POOL_LABEL]}"
        self.trouble = trouble
        self.node: Node | None = None
        self.worker = False
        self.ready = False
        self.ended = False
        self.going = False
        self.gone = False
        self.incarnation = 0
        self.drain = 0.0
        self.draining = False
        """Its agent was told to drain: whatever is wanted later, it serves no more."""
        self.running = 0
        self.sessions = 0

    @property
    def serving(self) -> bool:
        return self.worker and not self.ended and not self.gone and self.node is not None and not self.node.down

    def __repr__(self) -> str:
        return self.name


class Node:
    """`later`: what its kubelet does when it is back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.down = False
        self.since = 0.0
        self.later: list[Callable[[], None]] = []


class Agents(Protocol):
    """Who is told of capsules as the control plane's replicas would be."""

    def changed(self, life: Life) -> None: ...


class Nodes:
    """`luck` and `kinds`: the share of new pods that get into trouble, and which."""

    def __init__(self, server: Server, chance: random.Random, agents: Agents, count: int = 3) -> None:
        self._server, self._chance, self._agents = server, chance, agents
        self.nodes = [Node(f"node-{number}") for number in range(count)]
        self.lives: dict[str, Life] = {}
        """By uid."""
        self.longest: dict[str, float] = {}
        """By pool: the most seconds from a pod's creation until Kubernetes said that it is ready, or is so again."""
        self.trouble = 0.0
        self.kinds: tuple[str, ...] = TROUBLES

    # ---- what the API server says

    def changed(self, pod: Object) -> None:
        """A pod was made, or changed, or is gone."""
        uid = pod["metadata"]["uid"]
        life = self.lives.get(uid)
        there = self._server.pods().get(pod["metadata"]["name"])
        if there is None or there["metadata"]["uid"] != uid:
            if life is not None:
                self._gone(life)
        elif life is None:
            self._born(pod)
        elif pod["metadata"].get("deletionTimestamp") and not life.going:
            life.going = True
            self._after(life, life.drain, lambda: self._finish(life), last=True)

    def _born(self, pod: Object) -> None:
        chance = self._chance
        trouble = chance.choice(self.kinds) if chance.random() < self.trouble else ""
        life = self.lives[pod["metadata"]["uid"]] = Life(pod, trouble, self._server.now())
        life.drain = chance.choice([0.0, 0.5, 2.0, 8.0]) * chance.random()
        self._soon(life, chance.random() * 0.3, lambda: self._bind(life))

    def _gone(self, life: Life) -> None:
        """Its object is gone: what is left of it on a node is ended."""
        life.gone, life.worker, life.ready = True, False, False
        self.lives.pop(life.uid, None)
        self._agents.changed(life)

    def _finish(self, life: Life) -> None:
        """Drained."""
        life.worker = life.ready = False
        self._server.remove(PODS, life.name, life.uid)

    def drain(self, life: Life) -> None:
        """A replica tells its agent to."""
        if not life.draining:
            life.draining = True
            self._agents.changed(life)
            self._after(life, life.drain, lambda: self._drained(life))

    def _drained(self, life: Life) -> None:
        if life.draining:
            life.worker = life.ready = False
            self._agents.changed(life)
            self._say(life, "Running", {"name": WORKER, "state": {"running": {}}})

    # ---- a pod's start

    def _bind(self, life: Life) -> None:
        places = self._places(life)
        if life.trouble == "schedule" or not places:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}
            self._server.patch(PODS, life.name, life.uid, conditions=[condition])
            self._soon(life, 5.0, lambda: self._bind(life))
            return
        life.node = self._chance.choice(places)
        self._server.bind(life.name, life.uid, life.node.name)
        self._say(life, "Pending", waiting(WORKER, "ContainerCreating"))
        self._after(life, 0.2 + self._chance.random() * 2, lambda: self._start(life))

    def _places(self, life: Life) -> list[Node]:
        """The nodes that it may go to; of one that has just vanished nobody knows it yet."""
        out = (self._server.pods()[life.name]["metadata"].get("annotations") or {}).get(AVOIDS_ANNOTATION, "").split(",")
        known = [node for node in self.nodes if not node.down or self._server.now() - node.since < GONE_SECONDS]
        return [node for node in known if node.name not in out]

    def _start(self, life: Life) -> None:
        match life.trouble:
            case "image":
                word = self._chance.choice(["ErrImagePull", "ImagePullBackOff"])
                self._say(life, "Pending", waiting(WORKER, word, "no such image"))
            case "volume":
                failed_mount(self._server, self._server.pods()[life.name])
            case "ends":
                self.end(life)
                return
            case "crash":
                self._say(life, "Running", waiting(WORKER, "CrashLoopBackOff", "back-off restarting"))
            case "setup":
                self._say(life, "Running", {"name": WORKER, "state": {"running": {}}})
            case _:
                self._up(life)
                return
        self._after(life, 6.0, lambda: self._start(life))

    def _up(self, life: Life) -> None:
        if life.trouble != "sidecar":
            self._say(life, "Running", {"name": WORKER, "state": {"running": {}}})
        self._after(life, self._chance.choice([0.0, 0.0, 2.0]) * self._chance.random(), lambda: self._warm(life))

    def _warm(self, life: Life) -> None:
        """The agent has links, and a worker; the kubelet sees it a little sooner or later."""
        if life.draining:
            return
        life.worker = True
        life.incarnation += 1
        self._agents.changed(life)
        self._after(life, self._chance.random() * 2, lambda: self._probe(life))

    def _probe(self, life: Life) -> None:
        ready = life.worker and life.trouble != "sidecar"
        container = {"name": WORKER, "state": {"running": {}}}
        if life.trouble == "sidecar":
            container = waiting("sidecar", "CrashLoopBackOff", "back-off restarting")
            self._after(life, 6.0, lambda: self._probe(life))
        if ready != life.ready or life.trouble:
            life.ready = ready
            self._say(life, "Running", container)

    def _say(self, life: Life, phase: str, container: Object) -> None:
        """A kubelet's word."""
        found = self._server.pods().get(life.name)
        if found is None or life.ended:
            return
        before = next((each for each in (found["status"].get("conditions") or ()) if each["type"] == "Ready"), None)
        status = "True" if life.ready else "False"
        is_news = before is None or before["status"] != status
        stamp = before["lastTransitionTime"] if before and not is_news else self._server.stamp()
        if is_news and life.ready:
            self.longest[life.pool] = max(self.longest.get(life.pool, 0.0), self._server.now() - life.born)
        conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status, "lastTransitionTime": stamp}]
        self._server.patch(PODS, life.name, life.uid, phase=phase, conditions=conditions, containerStatuses=[container])

    # ---- what happens to it

    def crash(self, life: Life) -> None:
        """Its container ends, and is started again."""
        if not (life.worker or life.draining) or life.ended:
            return
        life.worker = life.ready = False
        life.running = 0
        self._agents.changed(life)
        self._say(life, "Running", waiting(WORKER, "CrashLoopBackOff", "back-off restarting"))
        self._after(life, self._chance.choice([1.0, 10.0]) * self._chance.random(), lambda: self._warm(life))

    def end(self, life: Life, reason: str = "Evicted") -> None:
        """The whole pod, by its kubelet."""
        if life.ended or life.gone:
            return
        life.ended, life.worker, life.ready = True, False, False
        self._agents.changed(life)
        conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": self._server.stamp()}]
        self._server.patch(PODS, life.name, life.uid, phase="Failed", reason=reason, message="low on memory", conditions=conditions)

    def vanish(self, node: Node) -> None:
        if node.down:
            return
        node.down, node.since = True, self._server.now()
        self._tell(node)
        loop, since = asyncio.get_running_loop(), node.since
        loop.call_later(GONE_SECONDS, self._not_ready, node, since)
        loop.call_later(EVICTED_SECONDS, self._evict, node, since)

    def back(self, node: Node, *, rebooted: bool) -> None:
        """What was to be done there is done now. After a power cut all containers start again."""
        if not node.down:
            return
        node.down = False
        later, node.later = node.later, []
        for act in later:
            act()
        if rebooted:
            for life in self._on(node):
                self.crash(life)
                life.draining = False
        self._tell(node)
        for life in self._on(node):
            if not life.going:
                life.ready = life.worker and life.trouble != "sidecar"
                if life.worker:
                    self._say(life, "Running", {"name": WORKER, "state": {"running": {}}})

    def remove(self, node: Node) -> None:
        """For good: another one of that name takes its place, and the garbage collector removes its pods."""
        for life in self._on(node):
            self._server.remove(PODS, life.name, life.uid)
        node.later.clear()
        node.down = False

    def heal(self) -> None:
        """No trouble any more, for anybody."""
        self.trouble = 0.0
        for life in self.lives.values():
            life.trouble = ""
        for node in self.nodes:
            if self._chance.random() < 0.5:
                self.back(node, rebooted=self._chance.random() < 0.5)
            elif node.down:
                self.remove(node)

    def on_nodes(self, pool: str) -> list[Life]:
        return [life for life in self.lives.values() if life.pool == pool and life.node is not None]

    def _on(self, node: Node) -> list[Life]:
        return [life for life in list(self.lives.values()) if life.node is node]

    def _tell(self, node: Node) -> None:
        for life in self._on(node):
            self._agents.changed(life)

    def _not_ready(self, node: Node, since: float) -> None:
        if not node.down or node.since != since:
            return
        for life in self._on(node):
            if life.ready:
                life.ready = False
                found = self._server.pods()[life.name]
                conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": self._server.stamp()}]
                self._server.patch(PODS, life.name, life.uid, conditions=conditions, phase=found["status"]["phase"])

    def _evict(self, node: Node, since: float) -> None:
        if node.down and node.since == since:
            for life in self._on(node):
                asyncio.get_running_loop().create_task(self._server.delete(PODS, "default", life.name, life.uid))

    def _soon(self, life: Life, seconds: float, act: Callable[[], None]) -> None:
        """By the scheduler."""

        def due() -> None:
            if not life.gone and not life.going:
                act()

        asyncio.get_running_loop().call_later(seconds, due)

    def _after(self, life: Life, seconds: float, act: Callable[[], None], *, last: bool = False) -> None:
        """By its kubelet, when it is there. `last`: also when the pod has ended, or is to end."""

        def due() -> None:
            if life.gone or (not last and (life.ended or life.going)):
                return
            if life.node is not None and life.node.down:
                life.node.later.append(due)
            else:
                act()

        asyncio.get_running_loop().call_later(seconds, due)
