"""What is to be done with one pool now, what is said of it then, and what is remembered until the next look. Pure.

What is remembered saves requests and repeats, and keeps a pool from getting smaller in a hurry. Losing it, as a new leader does, harms
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from snakepit._retry import Backoff
from snakepit.spec.fields import SnakePool
from snakepit.spec.status import SnakePoolStatus
from snakepit_operator.events import EventBudget, NewEvent, ended, events_of, recycled
from snakepit_operator.model import FleetView, Observed, Outcome, Plan, Reason
from snakepit_operator.plan import plan
from snakepit_operator.pods import problem as why_none
from snakepit_operator.sizing import Size, look_again, resize
from snakepit_operator.status import status

RETRY_SECONDS = Backoff(1.0, 60.0)
"""First and longest pause after the API server has refused a pod. It doubles with each refusal of the same spec."""
STRANGER_SECONDS = 5.0
"""A capsule that works and that another operator has made since our last look is not deleted sooner: two that lead at a time, as may be
for a moment, would undo what the other does as fast as they can.
"""
_CHOSEN = (Reason.SCALING_DOWN, Reason.ROLLING_OUT)
"""Why what works may be deleted."""
BUDGET_SECONDS = 300.0
"""A PodDisruptionBudget is written this often, in case somebody has changed it."""


class Refusal(Struct, frozen=True):
    """The API server's last refusal of a pod of one spec. `until`: no pod is asked for before that. `problem`: reason and sentence."""

    generation: int
    attempt: int
    until: float
    problem: tuple[str, str]

    @classmethod
    def after(cls, before: Refusal | None, generation: int, now: float, problem: tuple[str, str]) -> Refusal:
        """The next one; each of the same spec in a row is held longer."""
        attempt = before.attempt + 1 if before is not None and before.generation == generation else 0
        return cls(generation, attempt, now + RETRY_SECONDS.seconds(attempt + 1), problem)

    def holds(self, generation: int, now: float) -> bool:
        """Does it still stand for this very spec?"""
        return self.generation == generation and now < self.until


class Memory(Struct, frozen=True, kw_only=True):
    """What is remembered of the pool of this uid. Times are Unix seconds."""

    uid: str
    deleted: Mapping[str, str] = {}
    """Uids of its pods that we have deleted ourselves, or were about to, and why."""
    spared: Mapping[str, float] | None = None
    """Until when pods are spared: those of the last look by uid, those to be made then by name; None: there was no look."""
    said: SnakePoolStatus | None = None
    """The status that was written last."""
    disputed: bool = False
    """It had become another one by the last look: somebody else writes it, too."""
    seen: FleetView | None = None
    """What the control plane's counts were the last time."""
    refusal: Refusal | None = None
    ending: bool = False
    """Its namespace is being deleted."""
    size: Size | None = None
    budget_at: float = 0.0
    """When its PodDisruptionBudget was written."""
    budget_size: int | None = None
    """The number of capsules that it was written for; None: it doesn't depend on it."""
    left_at: float = 0.0
    """When it was said that it is another release's."""
    events: EventBudget = EventBudget()


class Step(Struct, frozen=True):
    """What is to be done. `problem`: why no pod is made, as reason and sentence. `budget`: for how many capsules the PodDisruptionBudget
    is to be written; None: it stays.
    """

    plan: Plan
    problem: tuple[str, str] | None
    budget: int | None
    memory: Memory
    """What is to be remembered before anything is done."""

    @property
    def to_zero(self) -> bool:
        """Does an autoscaled pool lose its last capsules?"""
        size = self.memory.size
        return bool(self.plan.deletions) and size is not None and size.policy is not None and not size.capsules


class Conclusion(Struct, frozen=True):
    """What is to be said and remembered when a step has been done. `untold`: events for which there was no room. `again`: seconds until the
    next look; None: when somebody says so.
    """

    status: SnakePoolStatus
    events: list[NewEvent]
    untold: int
    memory: Memory
    again: float | None


def decide(pool: SnakePool, observed: Observed, memory: Memory, now: float) -> Step:
    """The next step. Where no pod can be made of the spec, the pods of earlier specs stay and only surplus ones go."""
    problem, refusal, disputed = why_none(pool.spec), memory.refusal, memory.said not in (None, pool.status)
    size = resize(pool, observed, memory.size, now, disputed=disputed)
    pool = _sized(pool, size)
    spared = _spared(observed, memory, now)
    todo = _sparing(spared, plan(pool if problem is None else _paused(pool), observed, now), now)
    if problem is not None:
        todo = msgspec.structs.replace(todo, creations=())
    elif todo.creations and refusal is not None and refusal.holds(pool.metadata.generation, now):
        problem = refusal.problem
        todo = msgspec.structs.replace(todo, creations=(), requeue_after=_sooner(todo.requeue_after, refusal.until - now))
    deleted = {pod.uid: memory.deleted[pod.uid] for pod in observed.pods if pod.uid in memory.deleted}
    deleted |= {each.uid: each.reason for each in todo.deletions}
    spared |= dict.fromkeys((each.name for each in todo.creations), 0.0)
    after = msgspec.structs.replace(memory, deleted=deleted, size=size, spared=spared, disputed=disputed)
    is_due = now - memory.budget_at > BUDGET_SECONDS or _budget_size(pool) != memory.budget_size
    return Step(todo, problem, size.capsules if is_due else None, after)


def conclude(pool: SnakePool, observed: Observed, step: Step, done: Outcome, release: str, now: float) -> Conclusion:
    """What follows of a step, when it was done as `done` says and the fleet is as in `observed`."""
    memory, again = step.memory, step.plan.requeue_after
    if memory.size is not None and (pause := look_again(memory.size, observed.fleet, now)) is not None:
        again = _sooner(again, pause)
    refusal = None if step.plan.creations else memory.refusal
    if done.refusal is not None:
        refusal = Refusal.after(memory.refusal, pool.metadata.generation, now, done.refusal)
        again = _sooner(again, refusal.until - now)
    sized, advice = (_sized(pool, memory.size), memory.size.advice) if memory.size else (pool, None)
    found = status(sized, observed, step.plan, now, done.refusal or step.problem, advice)
    after = msgspec.structs.replace(found, release=release)
    events, left = memory.events.spend(changes := _changes(pool, after, done, memory.seen, observed.fleet), now)
    kept = msgspec.structs.replace(memory, seen=observed.fleet or memory.seen, refusal=refusal, events=left, said=after)
    if step.budget is not None:
        kept = msgspec.structs.replace(kept, budget_at=now, budget_size=_budget_size(sized))
    return Conclusion(after, events, len(changes) - len(events), kept, again)


def _changes(pool: SnakePool, after: SnakePoolStatus, done: Outcome, before: FleetView | None, now: FleetView | None) -> list[NewEvent]:
    return [*events_of(pool.status, after, done), *recycled(before, now), *ended(before, now)]


def _budget_size(pool: SnakePool) -> int | None:
    return None if pool.spec.autoscaling is None else pool.spec.replicas


def _spared(observed: Observed, memory: Memory, now: float) -> dict[str, float]:
    until = 0.0 if memory.spared is None else now + STRANGER_SECONDS
    before = memory.spared or {}
    return {pod.uid: before.get(pod.uid, before.get(pod.name, until)) for pod in observed.pods}


def _sparing(spared: Mapping[str, float], todo: Plan, now: float) -> Plan:
    """What would take the place of those that are spared waits, too."""
    held = {each.name: spared[each.uid] for each in todo.deletions if spared[each.uid] > now and each.reason in _CHOSEN}
    if not held:
        return todo
    return msgspec.structs.replace(
        todo,
        creations=(),
        deletions=tuple(each for each in todo.deletions if each.name not in held),
        drains=tuple(each for each in todo.drains if each not in held),
        requeue_after=_sooner(todo.requeue_after, min(held.values()) - now),
    )


def _sized(pool: SnakePool, size: Size) -> SnakePool:
    return msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, replicas=size.capsules))


def _paused(pool: SnakePool) -> SnakePool:
    rollout = msgspec.structs.replace(pool.spec.rollout, paused=True)
    return msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, rollout=rollout))


def _sooner(one: float | None, other: float) -> float:
    """The shorter of two pauses; None is no pause at all."""
    return other if one is None else min(one, other)
