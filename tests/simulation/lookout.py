"""Looks again and again for what must not last: a call in a queue while a worker has a free slot, a tool that runs for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from snakepit.v1 import pool_pb2

if TYPE_CHECKING:
    from simulation.account import Account, Attempt, Run
    from simulation.capsule import SimulatedCapsule
    from simulation.replica import Replica
    from simulation.world import World

TICK_SECONDS = 0.1

WAIT_SECONDS = 0.25
"""A slot is free, and a call waits: for so long at most. Recalls take some milliseconds, and every word a few more."""

QUICK_SECONDS = 0.01
SLOW_SECONDS = 2.0
"""While messages take longer than that, and so long afterwards, nobody looks for calls that wait."""

ORPHAN_SECONDS = 0.5
"""How long after its caller has gone a tool is told to stop, at the latest."""

ORPHAN_SECONDS_OF_LINKS = 45.0
"""Where a link, or who was at its end, may be gone for a while."""

CALM = frozenset({"kill worker", "recycle", "drain", "store away", "break stream"})
"""Faults that break no link."""


class Lookout:
    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._since: dict[tuple[str, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._from = 0.0
        calm = not world.plan.faultiness or CALM.issuperset(world.plan.faults)
        self._orphan_seconds = ORPHAN_SECONDS if calm else ORPHAN_SECONDS_OF_LINKS

    def start(self) -> None:
        self._timer = self._loop.call_later(TICK_SECONDS, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        account, now = self._world.account, self._loop.time()
        if self._world.network.slowest > QUICK_SECONDS:
            self._from = now + SLOW_SECONDS
        self._since = {each: self._since.get(each, now) for each in self._idle()} if now >= self._from else {}
        for (replica, worker), since in self._since.items():
            if now - since > WAIT_SECONDS:
                account.violated(f"calls wait at replica {replica} though worker {worker} has had a free slot for {now - since:.2f} s")
        for token in _orphans(account, now - self._orphan_seconds):
            account.violated(f"{token} runs for nobody, and was not told to stop")
        for token in self._world.offerings.unanswered(self._orphan_seconds):
            account.violated(f"{token} has ended at its client, and nobody was told")
        for token in self._world.offerings.stalled(self._orphan_seconds):
            account.violated(f"{token} waits, though what it has said was taken")
        for host in self._world.hosts:
            for what, seconds in self._world.offerings.stale(host.replica) if host.replica is not None else ():
                if seconds > self._orphan_seconds:
                    account.violated(f"{what} is on offer at replica {host.name} {seconds:.2f} s after its end")

    def _idle(self) -> Iterator[tuple[str, str]]:
        """Pairs of a replica whose calls wait, and a worker with a free slot of an agent that it is linked to."""
        for host in self._world.hosts:
            replica = host.replica
            if replica is None or not any(pool.queue.anybody for pool in replica.flow.pools.values()):
                continue
            for capsule in self._world.capsules:
                if self._are_linked(host.name, capsule, replica):
                    for worker in self._free(capsule, replica):
                        yield host.name, worker

    def _are_linked(self, name: str, capsule: SimulatedCapsule, replica: Replica) -> bool:
        agent = capsule.agent
        if agent is None or replica.id not in agent.uplink.linked:
            return False
        link = agent.uplink.replica(replica.id)
        connection = getattr(link.channel, "connection", None) if link is not None else None
        if connection is None:
            return False
        lanes = [each for each in connection.streams if not each.is_bulk]
        return bool(lanes) and not any(each.up.lost or each.down.lost for each in (connection, *lanes))

    def _free(self, capsule: SimulatedCapsule, replica: Replica) -> Iterator[str]:
        agent, pool = capsule.agent, replica.flow.pools.get(capsule.pool)
        assert agent is not None
        known = pool.capsules.get(agent.incarnation) if pool is not None else None
        if pool is None or not pool.queue.anybody or known is None or known.liveness != pool_pb2.LIVENESS_LIVE or known.draining:
            return
        now = replica.flow.clock()
        resting = {worker.incarnation for worker in pool.workers.values() if worker.resting_until > now}
        ledger = agent.ledger
        for incarnation, worker in ledger.workers.items():
            if ledger.has_slot(incarnation) and not worker.taken and not worker.closed and not ledger.shut and incarnation not in resting:
                yield incarnation


def _orphans(account: Account, before: float) -> list[str]:
    """Runs that nobody has told to stop though nobody has waited since then for them, or for one that they are nested in."""
    runs = [run for running in account.running.values() for run in running if not run.stopped and not account.is_fenced(run)]
    return [run.token for run in runs if any(0 < each.ended < before - each.unnoticed and not each.key for each in _waiting(run))]


def _waiting(run: Run) -> Iterator[Attempt]:
    """Who waits for it, and has waited when it began: what a client's tool calls after its own caller has gone is nested in nothing."""
    yield run.attempt
    around = run.attempt.parent
    if around is not None and not run.free and around.attempt.ended > run.began and not run.attempt.key:
        yield around.attempt
