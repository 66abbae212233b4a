"""Calls back what was sent ahead of a worker's slots, while a slot is free elsewhere: `policy.reruns` says what, this says when.

The agent gives such calls back by itself, but later, because it can't know of the free slot. What comes back is placed again by
`outcomes`; what had started stays. Costs nothing while no call is ahead of a slot, and one timer of the loop while some are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice

from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.reruns import all_for_others, slow_one

TICK_SECONDS = 0.002

QUIET_SECONDS = 0.002
"""A worker that has ended no call of ours for so long is not as quick as it was taken to be: four times of what is sent ahead."""

LATE_SECONDS = 0.001
"""A loop that was itself late by this much may have answers that it has not read yet."""

LOOKED_AT = 256
"""Workers looked at in one tick."""

LOOKED_AT_NOW = 8
"""Workers looked at when another one gets free."""


class Recalls:
    """One for each replica."""

    def __init__(self, agents: AgentLinks) -> None:
        self._agents = agents
        self._loop = asyncio.get_running_loop()
        self.watched: dict[Worker, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def watch(self, pool: Pool, worker: Worker, now: float) -> None:
        """A call has been sent to a worker without a free slot."""
        worker.watched = True
        self.watched[worker] = pool
        if self._timer is None:
            self._arm(now)

    def slot_free(self, pool: Pool, free: Worker, now: float) -> None:
        """A worker has nothing to do, and nobody waits in the queue: a call that waits behind a slow one elsewhere is to come back."""
        if not self.watched or free.load >= free.slots or not free.has_room:
            return
        for worker, its in islice(self.watched.items(), LOOKED_AT_NOW):
            if its is pool and worker.load > worker.slots and (call := slow_one(worker, free.capsule.tools)) is not None:
                self._tell(worker, [call])
                return

    def crowded(self, pool: Pool, worker: Worker, now: float) -> None:
        """Another replica has sent calls there at the same time: ours may have to wait though a slot is free elsewhere."""
        if worker.load > worker.slots and worker.own:
            if not worker.watched:
                self.watch(pool, worker, now)
            free = pool.index.pick_free()
            if free is not None and (call := slow_one(worker, free.capsule.tools)) is not None:
                self._tell(worker, [call])

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, now: float) -> None:
        self._due = now + TICK_SECONDS
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = now - self._due > LATE_SECONDS
        for worker, pool in list(islice(self.watched.items(), LOOKED_AT)):
            del self.watched[worker]
            worker.watched = worker.load > worker.slots and worker.own > 0
            if worker.watched:
                # At the end, so that all are looked at in turn.
                self.watched[worker] = pool
                if not late and now - worker.progressed >= QUIET_SECONDS and (calls := all_for_others(pool, worker)):
                    worker.progressed = now
                    self._tell(worker, calls)
        self._timer = None
        if self.watched:
            self._arm(now)

    def _tell(self, worker: Worker, calls: Sequence[Call]) -> None:
        first, *others = [call.message.id for call in calls]
        self._agents.tell(worker.capsule, link_pb2.Frame(recall=link_pb2.Recall(id=first, others=others)))
