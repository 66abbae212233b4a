"""Kubernetes Events for changes of a pool's state. An event that can't be written is logged and forgotten: events decide nothing.

The same event again is the same Event with a higher count; each pool has a small budget that fills up again with time.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from snakepit.spec.crd import API_VERSION, KIND
from snakepit.spec.fields import Condition, SnakePool, SnakePoolStatus
from snakepit_operator.kube import EVENTS, Kube, KubeError, Object
from snakepit_operator.model import FleetView, Outcome, Reason
from snakepit_operator.rollout import digest
from snakepit_operator.status import AVAILABLE, DEGRADED, PROGRESSING, STORE

BURST = 20
REFILL_SECONDS = 10.0
"""A pool may have this many events at once, and one more after each of these pauses."""
REMEMBERED = 2000
_NAMES_SHOWN = 5
_MESSAGE_LENGTH = 1024
_WISHED = frozenset({Reason.STARTING, Reason.SUSPENDED, Reason.SCALED_TO_ZERO, Reason.SETTINGS_PENDING})
"""Reasons for not being available that are as they should be, or soon will be."""
_ALARMS = frozenset({Reason.SESSIONS_NEARLY_FULL, Reason.SESSIONS_FULL, Reason.AUTOSCALING_IGNORED, Reason.SETTINGS_REFUSED})
"""Reasons of conditions that are as expected, and deserve a warning."""
_LOSSES = frozenset({Reason.CAPSULE_LOST, Reason.POD_FAILED, Reason.POD_STUCK})
"""Why a capsule is deleted that nobody wished away."""

log = logging.getLogger(__name__)


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
        if condition.type == AVAILABLE and (condition.reason, condition.message) in degraded:
            continue  # Degraded says it already
        was = before.get(condition.type)
        if was and (was.status, was.reason) == (condition.status, condition.reason):
            continue
        if was is None and condition.type != PROGRESSING and _fine(condition):
            continue  # the first look at a healthy pool is no news
        yield NewEvent(
            "Normal" if _fine(condition) else "Warning", condition.reason, f"{condition.type} is {condition.status}: {condition.message}"
        )


def recycled(before: FleetView | None, after: FleetView) -> Iterator[NewEvent]:
    """Workers that were recycled between two looks at a pool, an event for each reason; a capsule that is new brings no news."""
    found: set[str] = set()
    for name, capsule in after.capsules.items():
        was = before.capsules.get(name) if before is not None else None
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


class TokenBucket:
    """A budget that fills up again with time."""

    def __init__(self, now: float) -> None:
        self._left = float(BURST)
        self._at = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed now."""
        self._left = min(float(BURST), self._left + (now - self._at) / REFILL_SECONDS)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class EventRecorder:
    """Writes events."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    async def record(self, pool: SnakePool, found: Iterable[NewEvent]) -> None:
        """Write each, within the pool's budget."""
        now = time.monotonic()
        bucket = self._buckets.setdefault(pool.metadata.uid, TokenBucket(now))
        self._buckets.move_to_end(pool.metadata.uid)
        for each in found:
            if bucket.take(now):
                await self._write(pool, each)
        _shrink(self._buckets)
        _shrink(self._counts)

    async def _write(self, pool: SnakePool, event: NewEvent) -> None:
        name = f"{pool.metadata.name}.{digest([pool.metadata.uid, event.type, event.reason, event.message], 16)}"
        count = self._counts[name] = self._counts.pop(name, 0) + 1
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            try:
                await self._kube.create(EVENTS, pool.metadata.namespace, _event(name, pool, event, stamp))
            except KubeError as error:
                if not error.exists:
                    raise
                await self._kube.merge(EVENTS, pool.metadata.namespace, name, {"count": max(2, count), "lastTimestamp": stamp})
        except KubeError as error:
            if error.ending:
                return  # nothing can be made in that namespace, and nobody will read it
            log.warning("event %s of %s could not be written: %s", event.reason, pool.metadata.name, error)


def clip(message: str) -> str:
    """What an Event can carry: of a traceback the sentence before it, and its end."""
    if len(message) <= _MESSAGE_LENGTH:
        return message
    sentence, _, traceback = message.partition("\n")
    room = _MESSAGE_LENGTH - len(sentence) - 5
    return f"{sentence}\n... {traceback[-room:]}" if traceback and room > 0 else message[:_MESSAGE_LENGTH]


def _event(name: str, pool: SnakePool, event: NewEvent, stamp: str) -> Object:
    metadata = pool.metadata
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        },
        "type": event.type,
        "reason": event.reason,
        "message": clip(event.message),
        "source": {"component": "snakepit-operator"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def _shrink(remembered: OrderedDict[str, int] | OrderedDict[str, TokenBucket]) -> None:
    while len(remembered) > REMEMBERED:
        remembered.popitem(last=False)
