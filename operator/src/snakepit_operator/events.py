"""Kubernetes Events for changes of a pool's state: which ones, how many, and what they look like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec import Struct

from snakepit.spec.fields import API_VERSION, KIND, Condition, SnakePool, SnakePoolStatus
from snakepit_operator.model import FleetView, Outcome, Reason
from snakepit_operator.pods import Object
from snakepit_operator.rollout import digest
from snakepit_operator.status import AVAILABLE, DEGRADED, OBJECTIVES, PROGRESSING, READY, STALLED, STORE

BURST = 20
REFILL_SECONDS = 10.0
"""A pool may have this many events at once, and one more after each of these pauses."""
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
    """An event to be."""

    type: str
    reason: str
    message: str


def events_of(before: SnakePoolStatus | None, after: SnakePoolStatus, done: Outcome) -> list[NewEvent]:
    """What changed between two statuses, and what of the plan was done."""
    return [*_done(done), *_changed({each.type: each for each in before.conditions} if before else {}, after.conditions)]


def _done(done: Outcome) -> Iterator[NewEvent]:
    if done.created:
        yield NewEvent("Normal", "CapsulesCreated", f"Created {_names(each.name for each in done.created)}")
    for reason in sorted({each.reason for each in done.deleted}):
        these = [each for each in done.deleted if each.reason == reason]
        why = next((f": {each.message}" for each in these if each.message), "")
        type_ = "Warning" if reason in _LOSSES else "Normal"
        yield NewEvent(type_, "CapsulesDeleted", f"Deleting {_names(each.name for each in these)} ({reason}){why}")


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
        yield NewEvent("Normal", "WorkersRecycled", f"Recycled: {RECYCLED[reason]}")


RECYCLED = {
    "age": "a worker that had served for recycle.maxAgeSeconds",
    "calls": "a worker that had served recycle.maxCalls calls",
    "memory": "a worker whose own memory was above recycle.maxMemory",
    "asked": "a worker for which somebody had asked for it",
    "session": "a worker that had served its session (worker.exclusive)",
}
"""Without names: the same again is the same Event, with a higher count."""


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
    """How many events a pool may have now. It fills up again with time."""

    left: float = float(BURST)
    at: float = 0.0

    def spend(self, events: list[NewEvent], now: float) -> tuple[list[NewEvent], EventBudget]:
        """Those that may be, the first ones, and the budget after them."""
        left = min(float(BURST), self.left + max(0.0, now - self.at) / REFILL_SECONDS)
        allowed = events[: int(left)]
        return allowed, EventBudget(left - len(allowed), now)


def clip(message: str) -> str:
    """What an Event can carry: of a traceback the sentence before it, and its end."""
    if len(message) <= _MESSAGE_LENGTH:
        return message
    sentence, _, traceback = message.partition("\n")
    room = _MESSAGE_LENGTH - len(sentence) - 5
    return f"{sentence}\n... {traceback[-room:]}" if traceback and room > 0 else message[:_MESSAGE_LENGTH]


def event_object(pool: SnakePool, event: NewEvent, now: datetime) -> Object:
    """The Event. Its name follows from what it says, so the same one again is there already."""
    metadata, stamp = pool.metadata, now.strftime("%Y-%m-%dT%H:%M:%SZ")
    name = f"{metadata.name}.{digest([metadata.uid, event.type, event.reason, event.message], 16)}"
    involved = {"apiVersion": API_VERSION, "kind": KIND, "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata.namespace},
        "involvedObject": involved,
        "type": event.type,
        "reason": event.reason,
        "message": clip(event.message),
        "source": {"component": "snakepit-operator"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
