"""Calls of pools that are sized by them: each waits at the replica that it came to, runs in a capsule, and ends."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from simulation.operator_nodes import Life

from snakepit.v1 import fleet_pb2, pool_pb2

if TYPE_CHECKING:
    from simulation.operator_plane import Plane, Replica

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 120.0
"""queue.activationTimeoutSeconds"""


class Waiting:
    """One call, at one replica."""

    def __init__(self, pool: str, replica: Replica, since: float) -> None:
        self.pool, self.replica, self.since = pool, replica, since


class Calls:
    """`rates`: calls in a second beside those that are there one by one, as replicas say. `last`: when a pool's last call was there."""

    def __init__(self, plane: Plane, chance: random.Random) -> None:
        self._plane, self._chance = plane, chance
        self.waiting: list[Waiting] = []
        self.rates: dict[str, float] = {}
        self.last: dict[str, float] = {}

    def arrive(self, pool: str, replica: Replica) -> None:
        if not replica.up or pool not in replica.held:
            return
        self.last[pool] = self._plane.now()
        self.waiting.append(Waiting(pool, replica, self.last[pool]))
        self._plane.push_soon(replica)
        self._route()

    def _route(self) -> None:
        for each in list(self.waiting):
            replica = each.replica
            late = self._plane.now() - each.since > PATIENCE_SECONDS
            if late or not replica.up or each.pool not in replica.held:
                self.waiting.remove(each)  # Its caller is told.
            elif life := self._free(each):
                self.waiting.remove(each)
                self._plane.counts(life, 1, life.sessions)
                self._plane.push_soon(replica)
                asyncio.get_running_loop().call_later(self._chance.choice([0.1, 2.0, 20.0]), self._end, life)
        if self.waiting:
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._route)

    def _free(self, call: Waiting) -> Life | None:
        """A capsule that the replica may send it to."""
        for _, seen in sorted(call.replica.seen.items()):
            capsule = self._plane.capsules.get(seen.uid)
            usable = (
                seen.pool == call.pool and seen.worker and seen.liveness == pool_pb2.LIVENESS_LIVE and seen.uid not in call.replica.drained
            )
            if usable and capsule is not None and capsule.life.serving and not capsule.life.running:
                return capsule.life
        return None

    def _end(self, life: Life) -> None:
        self.last[life.pool] = self._plane.now()
        if not life.gone:
            self._plane.counts(life, 0, life.sessions)

    def rate(self, pool: str, rate: float) -> None:
        self.rates[pool] = rate
        self.last[pool] = self._plane.now()
        for replica in self._plane.replicas:
            self._plane.push_soon(replica)

    def queue(self, replica: Replica, pool: str) -> int:
        return sum(1 for each in self.waiting if each.replica is replica and each.pool == pool)

    def demand(self, replica: Replica, pool: str) -> fleet_pb2.Demand:
        rate = self.rates.get(pool, 0.0) / len(self._plane.replicas)
        busy = sum(capsule.life.running for capsule in self._plane.capsules.values() if capsule.life.pool == pool)
        idle = 0.0 if rate or busy or self.queue(replica, pool) else self._plane.now() - max(self.last.get(pool, 0.0), replica.since)
        return fleet_pb2.Demand(arrivals_per_second=rate, dispersion=1.0, service_seconds=1.0, busy_slots=busy, idle_seconds=idle)
