"""One pool, reconciled: observe, decide, act, report. Each step is elsewhere; here is their order, and what is kept between two looks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from snakepit.spec.fields import SnakePool
from snakepit.spec.status import SnakePoolStatus
from snakepit.v1 import link_pb2
from snakepit_operator import pods
from snakepit_operator.apply import Applier
from snakepit_operator.authority import Authority
from snakepit_operator.decide import Memory, Step, conclude, decide
from snakepit_operator.events import NewEvent
from snakepit_operator.fleet import Fleet
from snakepit_operator.kube import Kube, KubeError, Object
from snakepit_operator.leases import holder
from snakepit_operator.model import FleetView, Observed, Outcome, Reason
from snakepit_operator.observe import explained, find, found, hanging, marked, owned, pods_of
from snakepit_operator.settings import Settings
from snakepit_operator.snapshots import Snapshot, Snapshots
from snakepit_operator.telemetry import Telemetry
from snakepit_operator.views import pool_view

CONFIRM_SECONDS = 0.5
"""New settings are with every replica within this time, or the status says that they aren't yet."""
CORDON_SECONDS = 1.0
"""How long a deletion waits for the control plane to have taken its capsules out of routing; the pod's own drain does the rest."""
REST_SECONDS = 0.1
"""Between two looks at one pool: a rollout's events come in swarms."""
DISPUTED_SECONDS = 2.0
"""The same while somebody else writes its status, too: two that lead at a time, as may be for a moment, undo what the other does."""
OTHERS_SECONDS = 1800.0
"""That a pool is another release's is said this often: the API server forgets Events after an hour."""

log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What was remembered and known of the pools at one moment."""

    memories: Mapping[str, Memory] = MappingProxyType({})
    snapshots: Mapping[str, Snapshot] = MappingProxyType({})


class Reconciler:
    """Makes pools so, one at a time. `memories` is what is remembered of each, anew after each look. `authority` None: there is no TLS."""

    def __init__(
        self, kube: Kube, settings: Settings, fleet: Fleet, authority: Authority | None = None, telemetry: Telemetry | None = None
    ) -> None:
        self._kube, self._authority, self._telemetry = kube, authority, telemetry or Telemetry()
        self._told: dict[str, str] = {}
        self._agent = pods.agent_hash(settings.agent)
        self._release = f"{settings.namespace}/{settings.lease_name}"
        self.fleet = fleet
        self.memories: dict[str, Memory] = {}
        self.snapshots = Snapshots()
        self._applier = Applier(kube, settings.agent, settings.caller_role, settings.capsule_policy)

    def is_short(self, name: str, view: FleetView) -> bool:
        """Does the pool need more capsules than it should have by what was decided last?"""
        size = memory.size if (memory := self.memories.get(name)) is not None else None
        return size is not None and size.is_short(view)

    def rest(self, name: str) -> float:
        """Seconds until the next look at the pool, whatever happens: longer while another operator is at it, too."""
        return DISPUTED_SECONDS if (memory := self.memories.get(name)) is not None and memory.disputed else REST_SECONDS

    def statuses(self) -> dict[str, SnakePoolStatus]:
        """Of each pool that is ours, the status that was written last."""
        return {name: memory.said for name, memory in self.memories.items() if memory.said is not None}

    def forget(self, name: str) -> None:
        """The pool is gone, or another release's."""
        self.fleet.forget(name)
        self.snapshots.forget(name)
        self.memories.pop(name, None)
        self._told.pop(name, None)

    def seen(self) -> Seen:
        """For `listed`, when a list begins."""
        return Seen(dict(self.memories), self.snapshots.before())

    def listed(self, found: Mapping[str, Object], pods: Mapping[str, Sequence[Object]], before: Seen) -> None:
        """All pools there are, with their pods, by lists that were begun `before`. The first one is what the control plane is told.

        Later ones say which pools are gone: all others are looked at. What was looked at since a list was begun is newer than it.
        """
        if self.fleet.pools is None:
            self.fleet.set_pools(filter(None, [self._settings_of(raw, name) for name, raw in found.items()]))
        for name, memory in before.memories.items():
            if name not in found and self.memories.get(name) is memory:
                self.forget(name)
        self.snapshots.listed(self._snapshots(found, pods), before.snapshots)

    def _snapshots(self, listed: Mapping[str, Object], pods: Mapping[str, Sequence[Object]]) -> Iterator[tuple[str, Snapshot]]:
        for name, raw in listed.items():
            # One that can't be read is looked at, and that says so.
            with contextlib.suppress(msgspec.ValidationError):
                if (pool := found(raw)) is not None:
                    yield name, Snapshot(pool, owned(pods.get(name, ()), pool.pool))

    def _settings_of(self, raw: Object, name: str) -> link_pb2.PoolSettings | None:
        """None: the pool is going, is another release's, or can't be read."""
        if raw["metadata"].get("deletionTimestamp") or (raw.get("status") or {}).get("release", self._release) != self._release:
            return None
        try:
            return pods.pool_settings(pool_view(raw))
        except msgspec.ValidationError as error:
            log.error("pool %s can't be read by this version of the operator: %s", name, error, extra={"pool": name})
            return None

    async def reconsider(self, name: str, now: float) -> float | None:
        """Reconcile by what was read of the pool last, if nobody has told of a change since and there is nothing to do but to say so.

        Raises KubeError.
        """
        known = self.snapshots.get(name)
        if known is None or known.found.status.get("release") != self._release or hanging(known.pods, now):
            return await self.reconcile(name, now)
        memory = self._memory(name, known.found.pool)
        observed = self._observed(name, known, memory)
        step = decide(known.found.pool, observed, memory, now)
        if step.plan.creations or step.plan.deletions or step.to_zero:
            return await self.reconcile(name, now)
        try:
            return await self._carry_out(name, known, observed, step, now)
        except KubeError as error:
            if not (error.conflict or error.missing):
                raise
            return await self.reconcile(name, now)

    async def reconcile(self, name: str, now: float) -> float | None:
        """Observe, decide, act, report; when to look again. `now` is Unix time. Raises KubeError."""
        self.snapshots.forget(name)
        found = await find(self._kube, name)
        if found is None:
            self.forget(name)
            return None
        pool, memory = found.pool, self._memory(name, found.pool)
        release, version = await holder(self._kube, self._release, found)
        if release != self._release:
            await self._leave(name, pool, release, memory, now)
            return None
        known = Snapshot(
            msgspec.structs.replace(found, version=version), await explained(self._kube, await pods_of(self._kube, pool), pool, now)
        )
        # Only now: reading takes a while, and what the control plane said before may be so no more, or nobody may be heard of it.
        observed = self._observed(name, known, memory)
        step = decide(pool, observed, memory, now)
        if step.to_zero:
            observed = await self._held(name, pool, observed, step)
            step = decide(pool, observed, memory, now)
        return await self._carry_out(name, known, observed, step, now)

    def _observed(self, name: str, known: Snapshot, memory: Memory) -> Observed:
        fleet = self.fleet.view(name)
        return Observed(marked(known.pods, self._agent, memory.deleted, fleet), fleet)

    async def _carry_out(self, name: str, known: Snapshot, observed: Observed, step: Step, now: float) -> float | None:
        pool = known.found.pool
        self._telemetry.decided(step.plan)
        self.memories[name] = step.memory
        is_new = self._tell(pool, observed, step)
        done = await self._act(name, pool, step)
        if done is None:
            return None
        if is_new and observed.fleet is not None:
            await self.fleet.flushed(CONFIRM_SECONDS)
        observed = msgspec.structs.replace(observed, fleet=self.fleet.view(name))
        end = conclude(pool, observed, step, done, self._release, now)
        written = await self._applier.status(known.found, end.status)
        self._keep(name, known, done, written)
        await self._applier.tell(pool, end.events)
        if end.untold:
            log.warning("pool %s: %d changes have no Event, as it has had so many", name, end.untold, extra={"pool": name})
        self.memories[name] = end.memory
        return end.again

    def _keep(self, name: str, known: Snapshot, done: Outcome, written: Object | None) -> None:
        """What is known of the pool now, unless we have just changed its pods."""
        if done.created or done.deleted or done.refusal:
            return
        after = known.found if written is None else found(written)
        if after is not None:
            self.snapshots.keep(name, Snapshot(after, known.pods))

    def _memory(self, name: str, pool: SnakePool) -> Memory:
        """One of that name in a new life is another pool."""
        memory = self.memories.get(name)
        return memory if memory is not None and memory.uid == pool.metadata.uid else Memory(uid=pool.metadata.uid)

    def _tell(self, pool: SnakePool, observed: Observed, step: Step, held: Set[str] = frozenset()) -> bool:
        """Tell the replicas; those `held` get no new calls, and no drain yet. Whether the settings are new to them."""
        uids, plan = {pod.name: pod.uid for pod in observed.pods}, step.plan
        drains, evicted, kept = [[uids[name] for name in names] for names in ({*plan.drains} - held, plan.evicted, held)]
        return self.fleet.put(pods.pool_settings(pool), drains, evicted, kept)

    async def _held(self, name: str, pool: SnakePool, observed: Observed, step: Step) -> Observed:
        """What is so when no replica sends calls any more to the capsules that a pool goes to zero with. Their agents don't know of it yet.

        A replica that doesn't say so in time counts as one that is behind.
        """
        self._tell(pool, observed, step, held={each.name for each in step.plan.deletions})
        confirmed = await self.fleet.flushed(CORDON_SECONDS)
        fleet = self.fleet.view(name)
        if fleet is not None and not confirmed:
            fleet = msgspec.structs.replace(fleet, behind=max(1, fleet.behind))
        return msgspec.structs.replace(observed, fleet=fleet)

    async def _act(self, name: str, pool: SnakePool, step: Step) -> Outcome | None:
        """None: the pool's namespace is being deleted, and nothing can be made in it any more."""
        if step.memory.ending:
            return None
        if step.plan.deletions:
            await self.fleet.flushed(CORDON_SECONDS)
        try:
            if self._authority and (bundle := self._authority.bundle) and (step.budget is not None or self._told.get(name) != bundle):
                await self._applier.authority(pool, bundle)
                self._told[name] = bundle
            if step.budget is not None:
                await self._applier.network(pool)
            done = await self._applier.carry_out(pool, step.plan)
            if step.budget is not None:
                await self._applier.budget(pool, step.budget)
                await self._applier.callers(pool)
        except KubeError as error:
            if not error.ending:
                raise
            log.info("pool %s: its namespace is being deleted; no more capsules are made", name, extra={"pool": name})
            self.memories[name] = msgspec.structs.replace(step.memory, ending=True)
            return None
        return done

    async def _leave(self, name: str, pool: SnakePool, release: str, memory: Memory, now: float) -> None:
        """Another release looks after the pool: say so, now and then, and leave it alone."""
        self.forget(name)
        self.memories[name] = memory
        if now - memory.left_at < OTHERS_SECONDS:
            return
        self.memories[name] = msgspec.structs.replace(memory, left_at=now)
        log.warning("pool %s is left alone: the operator with the Lease %s looks after it", name, release, extra={"pool": name})
        said = f"The operator with the Lease {release} looks after this pool, the one with {self._release} leaves it alone"
        then = "let only one of the two watch this namespace (watchNamespaces)"
        await self._applier.tell(pool, [NewEvent("Warning", Reason.ANOTHER_RELEASE, f"{said}: {then}")])
