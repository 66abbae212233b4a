"""Takes back calls that were sent ahead of a worker's slots, while a slot is free elsewhere.

One of a tool that takes a while comes back as soon as another worker gets free; the quick ones, whose way back would take longer than
their wait, when their worker does not get on. The agent gives such calls back by itself, but later, because it can't know of the free
slot. What comes back is requeued by `answers`; what had started stays. Costs nothing while no call is ahead of a slot, and one timer of
the loop while some are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from snakepit.v1 import link_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.placement import has_free

if TYPE_CHECKING:
    from snakepit_control_plane.flow.dispatcher import Dispatcher

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
    """One for each router."""

    def __init__(self, router: Dispatcher) -> None:
        self._router = router
        self._watched: dict[Worker, Pool] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def watch(self, pool: Pool, worker: Worker, now: float) -> None:
        """A call has been sent to a worker without a free slot."""
        worker.watched = True
        self._watched[worker] = pool
        if self._timer is None:
            self._arm(now)

    def slot_free(self, pool: Pool, free: Worker, now: float) -> None:
        """A worker has nothing to do, and nobody waits in the queue: a call that waits behind a slow one elsewhere is to come back."""
        if not self._watched or free.load >= free.slots or not free.has_room:
            return
        for worker, its in islice(self._watched.items(), LOOKED_AT_NOW):
            if its is pool and worker.load > worker.slots and self._recall_slow(worker, free.capsule.tools):
                return

    def crowded(self, pool: Pool, worker: Worker, now: float) -> None:
        """Another replica has sent calls there at the same time: ours may have to wait though a slot is free elsewhere."""
        if worker.load > worker.slots and worker.own:
            if not worker.watched:
                self.watch(pool, worker, now)
            if (free := pool.index.pick_free()) is not None:
                self._recall_slow(worker, free.capsule.tools)

    def _recall_slow(self, worker: Worker, tools: Container[str]) -> bool:
        """One call that waits there, of a tool that takes a while and is among `tools`."""
        if worker.backlog <= AHEAD_SECONDS * worker.slots:
            return False  # Quick ones only: the usual case, and many of them to look through.
        call = next((call for call in behind(worker) if call.expected > AHEAD_SECONDS and call.tool in tools), None)
        if call is None:
            return False
        self._tell(worker, [call])
        return True

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, now: float) -> None:
        self._due = now + TICK_SECONDS
        self._timer = self._router.loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._router.clock()
        late = now - self._due > LATE_SECONDS
        for worker, pool in list(islice(self._watched.items(), LOOKED_AT)):
            del self._watched[worker]
            worker.watched = worker.load > worker.slots and worker.own > 0
            if worker.watched:
                # At the end, so that all are looked at in turn.
                self._watched[worker] = pool
                if not late and now - worker.progressed >= QUIET_SECONDS:
                    self._recall(pool, worker, now)
        self._timer = None
        if self._watched:
            self._arm(now)

    def _recall(self, pool: Pool, worker: Worker, now: float) -> None:
        calls = [call for call in behind(worker) if has_free(pool, call.tool)]
        if calls:
            worker.progressed = now
            self._tell(worker, calls)

    def _tell(self, worker: Worker, calls: Sequence[Call]) -> None:
        first, *others = [call.request.id for call in calls]
        self._router.tell(worker.capsule, link_pb2.Frame(recall=link_pb2.Recall(id=first, others=others)))


def behind(worker: Worker) -> list[Call]:
    """The calls that this replica has sent to the worker and that have not got a slot there, as far as can be known here.

    Those of sessions stay: whether they may go elsewhere is a question of their binding.
    """
    mine = [call for call in worker.capsule.inflight.values() if call.worker is worker]
    return [call for call in mine[max(0, worker.slots - worker.elsewhere) :] if call.session is None and not call.closed]
