"""One pool, reconciled: observe, decide, act, report. Each step is elsewhere; here is their order, and what is remembered from one time to
the next.

What is remembered saves requests and repeats. Losing it, as a new leader does, changes no decision.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import msgspec

from snakepit._wire.token import Token
from snakepit.spec.fields import SnakePool
from snakepit.v1 import link_pb2
from snakepit_operator import pods
from snakepit_operator.apply import Applier
from snakepit_operator.events import EventRecorder, NewEvent, events_of, recycled
from snakepit_operator.fleet import Fleet, OnChange
from snakepit_operator.kube import Kube, KubeError, Object
from snakepit_operator.leases import Claims
from snakepit_operator.model import FleetView, Observed, Outcome, Plan, Reason
from snakepit_operator.observe import observe
from snakepit_operator.plan import plan
from snakepit_operator.queue import Refusal
from snakepit_operator.settings import Settings
from snakepit_operator.status import status
from snakepit_operator.views import pool_view

CONFIRM_SECONDS = 0.5
"""New settings are with every replica within this time, or the status says that they aren't yet."""
BUDGET_SECONDS = 300.0
"""A PodDisruptionBudget is written this often, in case somebody has changed it."""
OTHERS_SECONDS = 1800.0
"""That a pool is another release's is said this often: the API server forgets Events after an hour."""

log = logging.getLogger(__name__)


class Memory(msgspec.Struct):
    """What is remembered of one pool from one time to the next. `deleted`: uids of its pods that we have deleted ourselves."""

    deleted: set[str] = msgspec.field(default_factory=set)
    seen: FleetView | None = None
    """What the control plane's counts were the last time."""
    refusal: Refusal | None = None
    """The API server's last one of a pod, while it stands."""
    ending: str = ""
    """The pool's uid, if its namespace is being deleted."""
    budget: tuple[str, int, float] = ("", 0, 0.0)
    """The uid and the generation that its PodDisruptionBudget was written for, and when (monotonic)."""


class Reconciler:
    """Makes pools so, one at a time.

    `known` are the settings of all pools that are ours, as they were seen last, and `memories` what is remembered of each.
    """

    def __init__(self, kube: Kube, settings: Settings, on_change: OnChange) -> None:
        self._kube = kube
        self._agent = settings.agent
        self.fleet = Fleet(settings.agent.control_plane, on_change, Token(settings.token_file))
        self.known: dict[str, link_pb2.PoolSettings] = {}
        self.memories: dict[str, Memory] = {}
        self._applier = Applier(kube, self.fleet, settings.agent)
        self._recorder = EventRecorder(kube)
        self._claims = Claims(kube, f"{settings.namespace}/{settings.lease_name}")
        self._others: dict[str, float] = {}
        """Pools of other releases, and when that was said (monotonic)."""

    def forget(self, name: str) -> None:
        """The pool is gone, or another release's."""
        self.fleet.forget(name)
        self.known.pop(name, None)
        self.memories.pop(name, None)

    def settings_of(self, raw: Object, name: str) -> link_pb2.PoolSettings | None:
        """None: the pool is going, or another release's. One that can't be read keeps what is known of it."""
        if raw["metadata"].get("deletionTimestamp") or self._claims.is_others((raw.get("status") or {}).get("release")):
            return None
        try:
            return pods.pool_settings(pool_view(raw))
        except msgspec.ValidationError as error:
            log.error("pool %s can't be read by this version of the operator: %s", name, error)
            return self.known.get(name)

    def listed(self, found: Mapping[str, link_pb2.PoolSettings], before: Mapping[str, link_pb2.PoolSettings]) -> None:
        """All pools there are, by a list that was begun when `before` was known."""
        pools = with_later_looks(found, before, self.known)
        for gone in self.known.keys() - pools.keys():
            self.forget(gone)
        self.known = pools
        self.fleet.set_pools(pools.values())

    async def reconcile(self, name: str) -> float | None:
        """Observe, decide, act, report; when to look again. Raises KubeError."""
        namespace, _, short = name.partition("/")
        memory, now = self.memories.get(name) or Memory(), time.time()
        observation = await observe(self._kube, self.fleet, self._agent, namespace, short, memory.deleted, now)
        if observation is None:
            self.forget(name)
            self._others.pop(name, None)
            return None
        pool = observation.pool
        holder = await self._claims.holder(namespace, short, observation.status.get("release"), observation.version)
        if holder != self._claims.me:
            await self._leave(name, pool, holder)
            return None
        self.memories[name] = memory
        problem = pods.problem(pool.spec)
        todo = decide(pool, observation.observed, now, problem)
        if observation.again is not None:
            todo = msgspec.structs.replace(todo, requeue_after=sooner(todo.requeue_after, max(0.1, observation.again)))
        if todo.creations and (refusal := memory.refusal) is not None and refusal.holds(pool, now):
            problem, todo = refusal.problem, without_creations(todo, refusal.until - now)
        self.known[name] = pods.pool_settings(pool)
        memory.deleted &= {pod.uid for pod in observation.observed.pods}
        is_new = self.fleet.put(self.known[name], todo.drains, todo.evicted)
        done = await self._act(name, pool, todo, memory)
        if done is None:
            return None
        observed = msgspec.structs.replace(observation.observed, fleet=await self._confirmed(name, wait=is_new))
        after = msgspec.structs.replace(status(pool, observed, todo, now, done.refusal or problem), release=holder)
        await self._applier.status(pool, observation.status, after)
        await self._recorder.record(pool, [*events_of(pool.status, after, done), *_recycled(memory, observed.fleet)])
        return _again(memory, pool, todo, done, now)

    async def _act(self, name: str, pool: SnakePool, todo: Plan, memory: Memory) -> Outcome | None:
        """None: the pool's namespace is being deleted, and nothing can be made in it any more."""
        if memory.ending == pool.metadata.uid:
            return None
        try:
            done = await self._applier.carry_out(pool, todo, memory.deleted)
            await self._keep_budget(pool, memory)
        except KubeError as error:
            if not error.ending:
                raise
            log.info("pool %s: its namespace is being deleted; no more capsules are made", name)
            memory.ending = pool.metadata.uid
            return None
        return done

    async def _leave(self, name: str, pool: SnakePool, holder: str) -> None:
        """Another release looks after the pool: say so, now and then, and leave it alone."""
        self.forget(name)
        now = time.monotonic()
        if now - self._others.get(name, -OTHERS_SECONDS) < OTHERS_SECONDS:
            return
        self._others[name] = now
        log.warning("pool %s is left alone: the operator with the Lease %s looks after it", name, holder)
        said = f"The operator with the Lease {holder} looks after this pool, the one with {self._claims.me} leaves it alone"
        then = "let only one of the two watch this namespace (watchNamespaces)"
        await self._recorder.record(pool, [NewEvent("Warning", Reason.ANOTHER_RELEASE, f"{said}: {then}")])

    async def _confirmed(self, name: str, *, wait: bool) -> FleetView | None:
        """The pool as it is now; of new settings, when the replicas have confirmed them, if they do so soon."""
        if wait and self.fleet.view(name) is not None:
            await self.fleet.flushed(CONFIRM_SECONDS)
        return self.fleet.view(name)

    async def _keep_budget(self, pool: SnakePool, memory: Memory) -> None:
        uid, generation, written = memory.budget
        metadata, now = pool.metadata, time.monotonic()
        if (uid, generation) != (metadata.uid, metadata.generation) or now - written > BUDGET_SECONDS:
            await self._applier.budget(pool)
            memory.budget = (metadata.uid, metadata.generation, now)


def _again(memory: Memory, pool: SnakePool, todo: Plan, done: Outcome, now: float) -> float | None:
    """When to look again: what was refused is not asked for before its time."""
    if done.refusal is None:
        memory.refusal = None if todo.creations else memory.refusal
        return todo.requeue_after
    memory.refusal = Refusal.after(memory.refusal, pool, now, done.refusal)
    return sooner(todo.requeue_after, memory.refusal.until - now)


def _recycled(memory: Memory, fleet: FleetView | None) -> list[NewEvent]:
    """What the control plane's counts have to tell since they were looked at last."""
    if fleet is None:
        return []
    before, memory.seen = memory.seen, fleet
    return list(recycled(before, fleet))


def with_later_looks(
    listed: Mapping[str, link_pb2.PoolSettings], before: Mapping[str, link_pb2.PoolSettings], known: Mapping[str, link_pb2.PoolSettings]
) -> dict[str, link_pb2.PoolSettings]:
    """The pools of a list, but as a look at one alone has it that came after the list was begun: else a list would undo newer edits."""
    looked_at = {name for name in before.keys() | known.keys() if known.get(name) is not before.get(name)}
    return {
        **{name: each for name, each in listed.items() if name not in looked_at},
        **{name: known[name] for name in looked_at & known.keys()},
    }


def decide(pool: SnakePool, observed: Observed, now: float, problem: tuple[str, str] | None) -> Plan:
    """The plan; where no pod can be made of the spec, the pods of earlier specs stay and only surplus ones go."""
    if problem is None:
        return plan(pool, observed, now)
    rollout = msgspec.structs.replace(pool.spec.rollout, paused=True)
    frozen = msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, rollout=rollout))
    return msgspec.structs.replace(plan(frozen, observed, now), creations=())


def without_creations(todo: Plan, again: float) -> Plan:
    """The plan without its new pods, and with another look after that time."""
    return msgspec.structs.replace(todo, creations=(), requeue_after=sooner(todo.requeue_after, again))


def sooner(one: float | None, other: float) -> float:
    """The shorter of two pauses; None is no pause at all."""
    return other if one is None else min(one, other)
