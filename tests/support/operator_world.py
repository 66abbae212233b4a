"""Pools, pods and a pretend cluster for tests of the operator's decisions: it does what plans say, and what real clusters do besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from snakepit.spec import SnakePool
from snakepit_operator.kube import Kube
from snakepit_operator.model import CapsuleView, FleetView, Observed, Phase, Plan, PodView
from snakepit_operator.observe import explained, marked, pods_of
from snakepit_operator.plan import plan
from snakepit_operator.pods import AgentImage, agent_hash
from snakepit_operator.rollout import template_hash

START = 1_000_000.0


def pool(**spec: Any) -> SnakePool:
    """A SnakePool `default/digits` with these fields (camelCase) in its spec."""
    worker = {"adapter": "digits.tools:Digits", **spec.pop("worker", {})}
    metadata = {"name": "digits", "namespace": "default", "uid": "pool-uid", "generation": 3}
    document = {"metadata": metadata, "spec": {"image": "example/digits:1", **spec, "worker": worker}}
    return msgspec.convert(document, SnakePool)


def pod(ordinal: int, of: SnakePool | None = None, **fields: Any) -> PodView:
    """A ready pod of the pool's present template, unless the fields say otherwise."""
    template = template_hash((of or pool()).spec)
    defaults = {"name": f"digits-{ordinal}-{fields.get('template_hash', template)[:5]}", "template_hash": template, "phase": Phase.RUNNING}
    built = {**defaults, "ready": not fields.get("reason"), "created": START, "changed": START, **fields}
    return PodView(ordinal=ordinal, **{"uid": f"uid-{built['name']}", **built})


def capsule(of: PodView, **fields: Any) -> CapsuleView:
    """The control plane's view of that pod: live, with one ready worker, unless the fields say otherwise."""
    return CapsuleView(**{"name": of.name, "pod_uid": of.uid, "live": True, "ready_workers": 1, **fields})


def fleet(*capsules: CapsuleView, **fields: Any) -> FleetView:
    return FleetView(**{"available": bool(capsules), "capsules": {each.name: each for each in capsules}, **fields})


async def observe(kube: Kube, agent: AgentImage, pool: SnakePool, deleted: Mapping[str, str], now: float) -> tuple[PodView, ...]:
    """The pool's pods, now, with all that is said of them, as a look at the pool finds them. Raises KubeError."""
    return marked(await explained(kube, await pods_of(kube, pool), pool, now), agent_hash(agent), deleted)


class World:
    """A cluster in which time passes only by `tick`."""

    def __init__(self, pods: list[PodView], now: float = START) -> None:
        self.pods = {each.name: each for each in pods}
        self.now = now
        self.known = True
        self.lost: set[str] = set()
        self.born = 0

    def observed(self) -> Observed:
        capsules = [capsule(each, live=each.name not in self.lost, lost=each.name in self.lost, ready_workers=1) for each in self.ready()]
        return Observed(tuple(self.pods.values()), fleet(*capsules) if self.known else None)

    def ready(self) -> list[PodView]:
        return [each for each in self.pods.values() if each.active and each.ready]

    def active(self) -> list[PodView]:
        return [each for each in self.pods.values() if each.active]

    def reconcile(self, of: SnakePool) -> Plan:
        made = plan(of, self.observed(), self.now)
        for deletion in made.deletions:
            self.pods[deletion.name] = msgspec.structs.replace(self.pods[deletion.name], deleting=True)
        for creation in made.creations:
            if creation.name in self.pods:
                continue  # AlreadyExists
            self.born += 1
            self.pods[creation.name] = PodView(
                name=creation.name,
                uid=f"uid-{self.born}",
                ordinal=creation.ordinal,
                template_hash=creation.template_hash,
                attempt=creation.attempt,
                created=self.now,
                changed=self.now,
            )
        return made

    def change(self, name: str, **fields: Any) -> None:
        self.pods[name] = msgspec.structs.replace(self.pods[name], **fields)

    def settle(self) -> None:
        """What a healthy cluster does in time: pods start, terminating ones go."""
        self.now += 1
        self.pods = {name: each for name, each in self.pods.items() if not each.deleting}
        for each in self.active():
            if not each.ready and not each.reason:
                self.change(each.name, ready=True, phase=Phase.RUNNING, changed=self.now)
