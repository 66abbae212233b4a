"""Capsules and workers as this replica knows them, and the index that finds the least loaded one in O(1). Pure.

A worker is known by its incarnation: one that was started again under the same name is another `Worker`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from snakepit.v1 import common_pb2, pool_pb2

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call

LIVE = pool_pb2.LIVENESS_LIVE

AHEAD_SECONDS = 0.0005
"""Calls travel ahead of free slots while a worker's estimated backlog stays under this."""

AHEAD_CALLS = 64

SOON_SECONDS = 0.003
"""One call travels ahead to a worker that has so much to do with it: a tool of a millisecond would else idle for a third of the time, while
its result and the next call are on their way."""

NEXT_SECONDS = 0.011
"""The same while other calls wait in the queue, so that a worker that gets free elsewhere finds one there: a tool of five milliseconds
would else idle for a tenth of the time."""

LOOKED_AT = 8
"""Busy workers looked at for one that may get such a call; those that run a slow one may not."""

WAKE_SECONDS = 0.0001
"""What it costs to wake an idle worker: so much work goes behind what a worker does already before another one is woken."""

UNKNOWN_SECONDS = 1.0
"""The expected duration of a tool that has not run yet: enough to send nothing ahead of it."""

FAILURE_WEIGHT = 0.2
"""How much the latest call counts in the running share of failures."""

FAILING = 0.5
"""A worker whose share of failures is above this comes after its equals, and rests if the others fare better."""

MOST_SLOTS = 256
"""Of a worker, as in a pool's spec: an agent that claims more is not believed, because looking for a free one goes through all loads."""


@dataclass(slots=True, eq=False, repr=False)
class Worker:
    """One life of one worker. `own` counts this replica's calls there, `elsewhere` those of the others (the agent tells)."""

    capsule: Capsule
    info: pool_pb2.Worker
    id: str = ""
    incarnation: str = ""
    slots: int = 1
    ready: bool = False
    retiring: bool = False
    """Another process has its place: it serves strict sessions that are in use there, for a while."""
    taken: bool = False
    """worker.exclusive: it belongs to a session, or to the one call that it runs."""
    own: int = 0
    elsewhere: int = 0
    full: bool = False
    """The agent refused a call: nothing more until it tells of a change."""
    backlog: float = 0.0
    """Seconds of work that this replica's calls there are expected to take."""
    progressed: float = 0.0
    """When it last ended a call of this replica, or began to have one."""
    watched: bool = False
    """Calls were sent ahead there: see `flow.recalls`."""
    failure_share: float = 0.0
    resting_until: float = 0.0
    key: int | None = None
    """Its bucket in the index."""

    def __post_init__(self) -> None:
        self.id, self.incarnation, self.slots = self.info.id, self.info.incarnation, _slots(self.info)

    def take(self, info: pool_pb2.Worker, *, retiring: bool = False) -> int:
        """Take over what its agent says; returns by how many its slots have grown."""
        self.retiring = retiring
        # What was sent there and has not been heard of yet makes it somebody's too.
        self.taken = info.taken or (self.taken and self.own > 0)
        before = self.slots
        self.info = info
        self.ready = info.state == pool_pb2.WORKER_STATE_READY
        self.slots = _slots(info)
        self.full = False
        return self.slots - before

    @property
    def load(self) -> int:
        return self.own + self.elsewhere

    @property
    def alive(self) -> bool:
        """It can finish what it runs and may be bound to sessions, busy or not."""
        return self.ready and self.capsule.routable

    @property
    def has_room(self) -> bool:
        return (self.ready or self.retiring) and not self.full and self.own + self.elsewhere < self.slots and self.capsule.routable

    def fits_ahead(self, seconds: float) -> bool:
        """May one more call of that duration be sent though no slot is free?"""
        return self.backlog + seconds <= AHEAD_SECONDS * self.slots and self.own + self.elsewhere < self.slots + AHEAD_CALLS

    def fits_next(self, seconds: float, most: float) -> bool:
        """Every slot is taken and nothing is ahead: may one call of that duration be, if there is to be work for `most` seconds with it?"""
        return self.load == self.slots and self.backlog / self.slots + seconds <= most

    def count_outcome(self, failed: bool) -> float:
        """Take one more outcome into the running share; returns by how much that grew."""
        change = FAILURE_WEIGHT * (failed - self.failure_share)
        self.failure_share += change
        return change


class Capsule:
    """One life of one agent. Calls in flight are known by the ids of their frames, which are unique in this replica."""

    def __init__(self, name: str, incarnation: str, pool: str, pod_uid: str, now: float) -> None:
        self.name = name
        self.incarnation = incarnation
        self.pool = pool
        self.pod_uid = pod_uid
        # By its own word: of the SnakePool that its pod was made for; and the machine that it runs on.
        self.pool_uid = ""
        self.node = ""
        self.tells_log_lines = False
        self.workers: dict[str, Worker] = {}
        # By incarnation: those whose place others have, until they have ended.
        self.leaving: dict[str, Worker] = {}
        # How many were recycled, by reason, as the agent counts them.
        self.recycled: dict[str, int] = {}
        self.reported = False
        # What of its last report the operator has to hear at once.
        self.said: tuple[object, ...] = ()
        self.inflight: dict[int, Call] = {}
        # Streams whose slot is free again while chunks are still on their way.
        self.trailing: dict[int, Call] = {}
        self.tools: dict[str, common_pb2.Tool] = {}
        # Of its workers, as the pool counts them.
        self.ready_workers = 0
        self.linked = True
        self.draining = False
        # By a replica, which can't be taken back.
        self.told_to_drain = False
        self.cordoned = False
        # Of a cordoned one: it is not the operator that deletes its pod.
        self.evicted = False
        self.liveness: pool_pb2.Liveness = LIVE
        # When the agent was heard last; `last_beat` is later where its first beats are not expected yet.
        self.heard = self.last_beat = now
        # Its heartbeats that have not come since, as they were counted last.
        self.missed = 0
        # When it was asked last whether it is there.
        self.asked = -math.inf
        self.description = ""
        # The store is being asked whether it is lost.
        self.doubted = False
        # Why its agent has no link, though it reaches this replica: a sentence.
        self.problem = ""

    def heard_at(self, now: float) -> None:
        """Something came from its agent."""
        self.heard = now
        self.last_beat = max(self.last_beat, now)

    @property
    def everyone(self) -> list[Worker]:
        """Its workers, those that are leaving included."""
        return [*self.workers.values(), *self.leaving.values()]

    @property
    def routable(self) -> bool:
        return self.liveness == LIVE and self.linked and not self.draining and not self.cordoned

    @property
    def why_leaving(self) -> str:
        """Of one that is cordoned or drains: who began it?"""
        return "scaled down" if self.cordoned and not self.evicted else "evicted"

    @property
    def has_ended(self) -> bool:
        """Has its agent said that no worker is left? A draining one whose link breaks before may still run calls of others."""
        return all(worker.info.state == pool_pb2.WORKER_STATE_STOPPED for worker in self.everyone)


def _slots(info: pool_pb2.Worker) -> int:
    return min(max(1, info.slots), MOST_SLOTS)


class WorkerIndex:
    """Workers by load, in buckets; within one, the one that waited longest is first (so equals take turns)."""

    def __init__(self) -> None:
        # No bucket is empty. Ordered ones: the first of a plain dict is found by passing over all that were taken out before it.
        self._buckets: dict[int, OrderedDict[Worker, None]] = {}
        self._lowest = 0
        self._filling: Worker | None = None

    def place(self, worker: Worker, now: float) -> None:
        """Put the worker where its load, as it is now, belongs; out of the index while it may get nothing."""
        # On every call's path, twice: what properties would say, written out.
        capsule = worker.capsule
        shut = not worker.ready or worker.full or worker.taken or worker.resting_until > now
        if shut or capsule.draining or capsule.cordoned or not capsule.linked or capsule.liveness != LIVE:
            self.remove(worker)
        else:
            # Even: as good as its load. Odd: it fails more than half of its calls, so its equals come first.
            self._move(worker, 2 * (worker.own + worker.elsewhere - worker.slots) + (worker.failure_share > FAILING))

    def _move(self, worker: Worker, key: int) -> None:
        """To the end of that bucket."""
        buckets, before = self._buckets, worker.key
        if before is not None and key not in buckets and len(buckets[before]) == 1:
            # A bucket of its own goes along with it: to make one costs more than all else here.
            buckets[key] = buckets.pop(before)
        else:
            self.remove(worker)
            if key not in buckets:
                buckets[key] = OrderedDict()
            buckets[key][worker] = None
        worker.key = key
        if key < self._lowest:
            self._lowest = key

    def remove(self, worker: Worker) -> None:
        if worker.key is not None:
            bucket = self._buckets[worker.key]
            del bucket[worker]
            if not bucket:
                del self._buckets[worker.key]
            worker.key = None

    def pick_free(self) -> Worker | None:
        """The least loaded worker with a free slot."""
        for key in range(self._lowest, 0):
            bucket = self._buckets.get(key)
            if bucket:
                return next(iter(bucket))
        return None

    def pick_quick(self, seconds: float) -> Worker | None:
        """For a call of a tool that takes so little: who got the last one, if it is busy and waking another would take longer than waiting
        for it; else a worker with a free slot; else one that may get the call ahead. One is filled before the next."""
        filling = self._filling
        fits = filling is not None and filling.key is not None and filling.key >= 0 and filling.fits_ahead(seconds)
        if filling is not None and fits and filling.backlog + seconds <= WAKE_SECONDS:
            return filling
        free = self.pick_free()
        if free is None and fits:
            return filling
        worker = free or self._pick_ahead(seconds)
        if worker is not None:
            self._filling = worker
        return worker

    def _pick_ahead(self, seconds: float) -> Worker | None:
        for key in sorted(self._buckets, reverse=True):
            if key < 0:
                break
            worker = next(iter(self._buckets[key]))
            if worker.fits_ahead(seconds):
                return worker
        return None

    def pick_next(self, seconds: float, most: float) -> Worker | None:
        """A worker that may get one call of that duration ahead: the one that has had its own for the longest time."""
        for key in (0, 1):
            for worker in islice(self._buckets.get(key, ()), LOOKED_AT):
                if worker.fits_next(seconds, most):
                    return worker
        return None

    def free(self) -> Iterator[Worker]:
        """Every worker with a free slot, best first. O(workers)."""
        for key in range(self._lowest, 0):
            yield from self._buckets.get(key, ())
