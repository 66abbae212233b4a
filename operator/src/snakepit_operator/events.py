"""Kubernetes Events for changes of a pool's state: which ones, how many, and what they look like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from snakepit.spec.fields import API_VERSION, KIND, SnakePool
from snakepit.spec.status import Condition, SnakePoolStatus
from snakepit_operator.model import MOMENT, FleetView, Outcome, Reason
from snakepit_operator.pods import Object
from snakepit_operator.rollout import digest
from snakepit_operator.status import AUTOSCALING, AVAILABLE, DEGRADED, OBJECTIVES, PROGRESSING, READY, STALLED, STORE

BURST = 20
REFILL_SECONDS = 10.0
"""A pool may have this many events at once, and one more after each of these pauses."""
SIMILAR = 10
SIMILAR_SECONDS = 600.0
"""So many of one reason have an Event each, within so long; the next ones share one, as the API server's own clients do it."""
COMBINED = "(combined from similar events): "
_NAMES_SHOWN = 5
_MESSAGE_LENGTH = 1024
_WISHED = frozenset({Reason.STARTING, Reason.SUSPENDED, Reason.SCALED_TO_ZERO, Reason.SETTINGS_PENDING})
"""Reasons for not being available that are as they should be, or soon will be."""
_ALARMS = frozenset(
    {Reason.SESSIONS_NEARLY_FULL, Reason.SESSIONS_FULL, Reason.SCALING_LIMITED, Reason.SETTINGS_REFUSED, Reason.BUDGET_SPENT}
)
"""Reasons of conditions that are as expected, and deserve a warning."""
_LOSSES = frozenset({Reason.CAPSULE_LOST, Reason.POD_FAILED, Reason.POD_STUCK})
"""Why a capsule is deleted that nobody wished away."""


class NewEvent(Struct, frozen=True):
    """An event to be. `combined`: it shares the one Event of its reason."""

    type: str
    reason: str
    message: str
    combined: bool = False


class Word(Struct, frozen=True):
    """What an Event's reason stands for, where it is not that of a condition."""

    types: str
    meaning: str


CREATED, DELETED, REPLACED, ENDED, SCALED = "CapsulesCreated", "CapsulesDeleted", "WorkersRecycled", "WorkersEnded", "Scaled"
WORDS = {
    CREATED: Word("Normal", "Capsules that were made, by their names."),
    DELETED: Word("Normal, Warning", "Capsules that go, and why; a warning for those that nobody wished away."),
    SCALED: Word("Normal", "The pool should have another number of capsules than before: by `spec.replicas`, or by its demand."),
    REPLACED: Word("Normal", "Workers made room for fresh ones: by age, calls, memory, a session's end, or because somebody asked."),
    ENDED: Word("Warning", "Workers ended by themselves, or for want of memory; their calls failed with WORKER_LOST."),
    Reason.ANOTHER_RELEASE: Word("Warning", "Two releases watch the namespace: the other one looks after the pool."),
}
"""The one table; each condition's reason is an Event's besides, when it changes."""


def events_of(before: SnakePoolStatus | None, after: SnakePoolStatus, done: Outcome) -> list[NewEvent]:
    """What changed between two statuses, and what of the plan was done."""
    changed = _changed({each.type: each for each in before.conditions} if before else {}, after.conditions)
    return [*_scaled(before, after), *_done(done), *changed]


def _scaled(before: SnakePoolStatus | None, after: SnakePoolStatus) -> Iterator[NewEvent]:
    was, now = before.desired_replicas if before else None, after.desired_replicas
    if was is None or now is None or was == now:
        return
    by_demand = any(each.type == AUTOSCALING and each.status == "True" for each in after.conditions)
    why = after.recommendation if by_demand and after.recommendation else "as spec.replicas and spec.suspended say"
    yield NewEvent("Normal", SCALED, f"From {was} to {now} capsules: {why}")


def _done(done: Outcome) -> Iterator[NewEvent]:
    if done.created:
        yield NewEvent("Normal", CREATED, f"Created {_names(each.name for each in done.created)}")
    for reason in sorted({each.reason for each in done.deleted}):
        these = [each for each in done.deleted if each.reason == reason]
        why = next((f": {each.message}" for each in these if each.message), "")
        type_ = "Warning" if reason in _LOSSES else "Normal"
        yield NewEvent(type_, DELETED, f"Deleting {_names(each.name for each in these)} ({reason}){why}")


def _changed(before: dict[str, Condition], after: Iterable[Condition]) -> Iterator[NewEvent]:
    after = tuple(after)
    degraded = {(each.reason, each.message) for each in after if each.type == DEGRADED}
    for condition in after:
        if condition.type in (READY, STALLED) or (condition.type == AVAILABLE and (condition.reason, condition.message) in degraded):
            continue  # Another one says it already
        was = before.get(condition.type)
        if was and (was.status, was.reason) == (condition.status, condition.reason):
            continue
        if was is None and condition.type != PROGRESSING and _fine(condition):
            continue  # the first look at a healthy pool is no news
        if condition.type == OBJECTIVES and Reason.BUDGET_SPENT not in (condition.reason, was and was.reason):
            continue  # a control plane that has just started counts from the beginning
        yield NewEvent(
            "Normal" if _fine(condition) else "Warning", condition.reason, f"{condition.type} is {condition.status}: {condition.message}"
        )


def recycled(before: FleetView | None, after: FleetView | None) -> Iterator[NewEvent]:
    """Workers that were recycled between two looks at a pool, an event for each reason; a capsule that is new brings no news."""
    if before is None or after is None:
        return
    found: set[str] = set()
    for name, capsule in after.capsules.items():
        was = before.capsules.get(name)
        if was is not None and was.incarnation == capsule.incarnation:
            found.update(reason for reason, count in capsule.recycled.items() if count > was.recycled.get(reason, 0))
    for reason in sorted(found & RECYCLED.keys()):
        yield NewEvent("Normal", REPLACED, f"Recycled: {RECYCLED[reason]}")


RECYCLED = {
    "age": "a worker that had served for recycle.maxAgeSeconds",
    "calls": "a worker that had served recycle.maxCalls calls",
    "memory": "a worker whose own memory was above recycle.maxMemory",
    "asked": "a worker for which somebody had asked for it",
    "session": "a worker that had served its session (worker.exclusive)",
}
"""Without names: the same again is the same Event, with a higher count."""


def ended(before: FleetView | None, after: FleetView | None) -> Iterator[NewEvent]:
    """Workers that ended between two looks, and that nobody had asked to: an event for each way.

    Each replica counts all of them since its own start: one that is heard anew, with counts of long ago, brings no news.
    """
    if before is None or after is None:
        return
    both = before.ended.keys() & after.ended.keys()
    for how, said in ENDS.items():
        was, now = [max([view.ended[each].get(how, 0) for each in both], default=0) for view in (before, after)]
        if now > was:
            yield NewEvent("Warning", ENDED, f"Ended: {said}")


ENDS = {
    "crashed": "a worker, by itself or by a signal; `snakepit workers POOL -o json` says how each one's life before ended",
    "oom": "a worker, killed for want of memory; give the container `worker` more of it, or recycle.maxMemory a bound",
}


def _fine(condition: Condition) -> bool:
    if condition.reason in _ALARMS:
        return False
    expected = {AVAILABLE: "True", STORE: "True", DEGRADED: "False"}.get(condition.type)
    return expected in (None, condition.status) or condition.reason in _WISHED


def _names(names: Iterable[str]) -> str:
    every = sorted(names)
    more = len(every) - _NAMES_SHOWN
    return ", ".join(every[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


class EventBudget(Struct, frozen=True):
    """How many events a pool may have now. It fills up again with time. `told`: by type and reason, since when, and which messages."""

    left: float = float(BURST)
    at: float = 0.0
    told: Mapping[tuple[str, str], tuple[float, frozenset[str]]] = {}

    def spend(self, events: list[NewEvent], now: float) -> tuple[list[NewEvent], EventBudget]:
        """Those that may be, the first ones, and the budget after them."""
        left = min(float(BURST), self.left + max(0.0, now - self.at) / REFILL_SECONDS)
        told = {key: each for key, each in self.told.items() if now - each[0] < SIMILAR_SECONDS}
        allowed = [_combined(each, told, now) for each in events[: int(left)]]
        return allowed, EventBudget(left - len(allowed), now, told)


def _combined(event: NewEvent, told: dict[tuple[str, str], tuple[float, frozenset[str]]], now: float) -> NewEvent:
    """The event, or its part of the shared one. What was said already has an Event of its own, whose count grows."""
    key, mark = (event.type, event.reason), digest(event.message, 16)
    since, marks = told.get(key, (now, frozenset()))
    if mark in marks:
        return event
    if len(marks) >= SIMILAR:
        return replace(event, combined=True)
    told[key] = since, marks | {mark}
    return event


def clip(message: str) -> str:
    """What an Event can carry: of a traceback the sentence before it, and its end."""
    if len(message) <= _MESSAGE_LENGTH:
        return message
    sentence, _, traceback = message.partition("\n")
    room = _MESSAGE_LENGTH - len(sentence) - 5
    return f"{sentence}\n... {traceback[-room:]}" if traceback and room > 0 else message[:_MESSAGE_LENGTH]


def event_object(pool: SnakePool, event: NewEvent, now: datetime) -> Object:
    """The Event. Its name follows from what it says, so the same one again is there already, and so is a shared one."""
    metadata, stamp = pool.metadata, now.strftime(MOMENT)
    said = COMBINED if event.combined else event.message
    name = f"{metadata.name}.{digest([metadata.uid, event.type, event.reason, said], 16)}"
    involved = {"apiVersion": API_VERSION, "kind": KIND, "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata.namespace},
        "involvedObject": involved,
        "type": event.type,
        "reason": event.reason,
        "message": clip(f"{COMBINED}{event.message}" if event.combined else event.message),
        "source": {"component": "snakepit-operator"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
