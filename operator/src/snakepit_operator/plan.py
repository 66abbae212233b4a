"""Decides what to do about one pool's pods: observed + spec + now -> Plan. Pure; the same input gives the same plan.

It never counts on an earlier plan having been carried out: started anywhere, repeated passes end at the wanted pods, and in no pass are
there more than desired + surge of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from snakepit._retry import Backoff
from snakepit.spec.fields import SnakePool
from snakepit_operator.model import Creation, Deletion, Observed, Phase, Plan, PodView, Reason
from snakepit_operator.rollout import Budget, budget, capsule_name, desired, pool_hash

CREATIONS_PER_PASS = 50
"""A large pool is created in steps, so that one pool can't keep the API server from the others."""

PENDING_WHILE_STUCK = 10
"""While pods of this template are stuck, no more than this many are waiting to become ready."""

RETRY_SECONDS = Backoff(5.0, 300.0)
"""First and longest pause before a pod that failed is replaced; the very first replacement comes at once."""

HEALTHY_SECONDS = 600.0
"""A pod that lived this long starts a new count of attempts."""


def plan(pool: SnakePool, observed: Observed, now: float) -> Plan:
    """What to create, delete and drain now, and when to look again."""
    return _Pass(pool, observed, now).plan()


def retry_at(pod: PodView) -> float:
    """When a finished pod may be replaced: at once the first time, then ever later."""
    if pod.attempt == 0 or pod.changed - pod.created > HEALTHY_SECONDS:
        return pod.changed
    return pod.changed + RETRY_SECONDS.seconds(pod.attempt)


def give_up_at(pod: PodView, deadline: float) -> float:
    """When a stuck pod is replaced by another one: after the progress deadline, doubling with each attempt."""
    return max(pod.created, pod.changed) + deadline * 2.0 ** min(pod.attempt, 8)


class _Pass:
    """One decision: its parts in the order in which they are made."""

    def __init__(self, pool: SnakePool, observed: Observed, now: float) -> None:
        self.pool = pool
        self.observed = observed
        self.now = now
        self.wanted = desired(pool.spec)
        self.template = pool_hash(pool)
        self.deletions: list[Deletion] = []
        self.held: Reason | None = None
        self.avoid = self._avoid()
        self.deadline = pool.spec.rollout.progress_deadline_seconds

    def plan(self) -> Plan:
        waiting = self._clean_up(self._finished())
        stay = self._leave()
        active = self._give_up([pod for pod in self.observed.pods if pod.active])
        old = [pod for pod in active if pod.template_hash != self.template]
        limits = budget(self.pool.spec.rollout, self.wanted, rolling=bool(old))
        active = self._retire(active, limits)
        creations = () if stay else self._create(active, waiting, limits)
        gone = {deletion.name for deletion in self.deletions}
        drains = sorted(gone | {pod.name for pod in self.observed.pods if pod.deleting or pod.leaving})
        return Plan(
            creations=creations,
            deletions=tuple(self.deletions),
            drains=tuple(drains),
            evicted=tuple(sorted(pod.name for pod in self.observed.pods if pod.evicted)),
            held=self.held,
            requeue_after=self._next(waiting, active),
        )

    def _finished(self) -> list[PodView]:
        return [pod for pod in self.observed.pods if pod.finished and not pod.deleting]

    def _clean_up(self, finished: list[PodView]) -> list[PodView]:
        """Delete what has ended, but keep those that wait for their retry: they remember how often it was tried."""
        waiting = [pod for pod in finished if pod.template_hash == self.template and retry_at(pod) > self.now]
        active = sum(1 for pod in self.observed.active if pod.template_hash == self.template)
        waiting = sorted(waiting, key=lambda pod: (pod.ordinal, pod.name))[: max(0, self.wanted - active)]
        kept = {pod.name for pod in waiting}
        self._delete((pod for pod in finished if pod.name not in kept), Reason.POD_FAILED)
        return waiting

    def _leave(self) -> list[PodView]:
        """Delete what was to be deleted before, and is drained for it: it serves no more, however much it is wanted again. Who stays."""
        leaving = [pod for pod in self.observed.pods if pod.leaving]
        for pod in leaving:
            self._remove(leaving, [pod], pod.leaving)
        return [pod for pod in leaving if pod.name not in {each.name for each in self.deletions}]

    def _give_up(self, active: list[PodView]) -> list[PodView]:
        """Delete what is lost or has been stuck for too long; the rest goes on."""
        active = self._remove(active, [pod for pod in active if self._is_lost(pod)], Reason.CAPSULE_LOST)
        active = self._remove(active, [pod for pod in active if _kept_out(pod)], Reason.POD_STUCK)
        stuck = [pod for pod in active if pod.stuck and not self.observed.serving(pod) and give_up_at(pod, self.deadline) <= self.now]
        return self._remove(active, stuck, Reason.POD_STUCK)

    def _avoid(self) -> tuple[str, ...]:
        """Nodes that new pods stay away from: Kubernetes takes a dead one for alive for some 50 s, and as empty as it is it comes first.

        Nobody knows that they are dead. Where a pod found no place for it, all nodes are as good.
        """
        if any(_kept_out(pod) for pod in self.observed.pods):
            return ()
        return tuple(sorted({pod.node for pod in self.observed.pods if pod.node and self._is_lost(pod)}))

    def _is_lost(self, pod: PodView) -> bool:
        capsule = self.observed.capsule(pod)
        return capsule is not None and capsule.lost

    def _retire(self, active: list[PodView], limits: Budget) -> list[PodView]:
        """Delete old templates as far as enough others serve, then whatever is too many; return what stays."""
        old = [pod for pod in active if pod.template_hash != self.template]
        new = [pod for pod in active if pod.template_hash == self.template]
        if not self.pool.spec.rollout.paused:
            active = self._remove(active, self._replaceable(active, old, limits), Reason.ROLLING_OUT)
        active = self._remove(active, victims(new, len(new) - self.wanted, self.observed, self.template), Reason.SCALING_DOWN)
        return self._remove(active, victims(active, len(active) - limits.most, self.observed, self.template), Reason.SCALING_DOWN)

    def _replaceable(self, active: Sequence[PodView], old: Sequence[PodView], limits: Budget) -> list[PodView]:
        idle, busy = ([pod for pod in old if self.observed.serving(pod) is serves] for serves in (False, True))
        serving = sum(1 for pod in active if self.observed.serving(pod))
        spare = serving - limits.least_serving
        return idle + victims(busy, spare, self.observed, self.template)

    def _remove(self, active: list[PodView], chosen: list[PodView], reason: str) -> list[PodView]:
        """Delete those chosen, but nothing that may be serving while the control plane is not heard."""
        if not chosen:
            return active
        allowed = [pod for pod in chosen if self.observed.fleet is not None or pod.phase is Phase.PENDING]
        if len(allowed) < len(chosen):
            self.held = Reason.CONTROL_PLANE_UNKNOWN
        self._delete(allowed, reason)
        gone = {pod.name for pod in allowed}
        return [pod for pod in active if pod.name not in gone]

    def _create(self, active: list[PodView], waiting: list[PodView], limits: Budget) -> tuple[Creation, ...]:
        new = [pod for pod in active if pod.template_hash == self.template]
        room = min(self.wanted - len(new), limits.most - len(active)) - len(waiting)
        if any(pod.stuck for pod in new):
            room = min(room, PENDING_WHILE_STUCK - sum(1 for pod in new if not pod.ready))
        taken = {pod.ordinal for pod in (*new, *waiting)}
        free = (ordinal for ordinal in range(self.wanted + len(taken)) if ordinal not in taken)
        return tuple(self._creation(ordinal) for ordinal, _ in zip(free, range(min(room, CREATIONS_PER_PASS)), strict=False))

    def _creation(self, ordinal: int) -> Creation:
        before = [pod for pod in self.observed.pods if pod.ordinal == ordinal]
        owner = self.pool.metadata
        name = capsule_name(owner.name, owner.uid, ordinal, self.template, (pod.uid or pod.name for pod in before))
        same = [pod for pod in before if pod.template_hash == self.template]
        attempt = max((self._attempts(pod) for pod in same), default=0)
        # What was stuck anywhere is not tried elsewhere first, each time anew.
        return Creation(name, ordinal, self.template, attempt, () if attempt else self.avoid)

    def _attempts(self, pod: PodView) -> int:
        if pod.ready or self._is_lost(pod) or _kept_out(pod) or not (pod.finished or pod.reason):
            return 0
        return 1 if pod.changed - pod.created > HEALTHY_SECONDS and pod.finished else pod.attempt + 1

    def _delete(self, pods: Iterable[PodView], reason: str) -> None:
        self.deletions += [Deletion(pod.name, pod.uid, reason, f"{pod.reason}: {pod.message}" if pod.reason else "") for pod in pods]

    def _next(self, waiting: list[PodView], active: list[PodView]) -> float | None:
        times = [retry_at(pod) for pod in waiting] + [give_up_at(pod, self.deadline) for pod in active if pod.stuck]
        times += [pod.hangs_at for pod in self.observed.pods if pod.hangs_at is not None]
        # What is overdue is held, and comes again when the control plane is heard.
        return min((max(0.1, time - self.now) for time in times if time > self.now), default=None)


def _kept_out(pod: PodView) -> bool:
    """Is there no place for it, perhaps only for the nodes that it may not go to?"""
    return pod.avoids and not pod.node and pod.stuck


def victims(pods: Iterable[PodView], count: int, observed: Observed, template: str) -> list[PodView]:
    """The `count` pods that are missed least: not serving, of an old template, idle, fewest sessions, highest ordinal."""
    return sorted(pods, key=lambda pod: _worth(pod, observed, template))[:count] if count > 0 else []


def _worth(pod: PodView, observed: Observed, template: str) -> tuple[bool, bool, bool, int, int, str]:
    capsule = observed.capsule(pod)
    busy, sessions = (capsule.running > 0, capsule.sessions) if capsule else (False, 0)
    return observed.serving(pod), pod.template_hash == template, busy, sessions, -pod.ordinal, pod.name
