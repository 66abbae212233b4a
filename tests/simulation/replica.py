"""A control-plane replica, composed as the server composes it but for its sockets: it can be killed, and comes back as another process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from simulation.network import Network
from simulation.store import ReplicaStore, SharedStore

from snakepit._names import new_id
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.lanes import Lanes
from snakepit_control_plane.servers.links import LinkServicer
from snakepit_control_plane.telemetry import Telemetry

_TELEMETRY = Telemetry()
"""Shared: nobody reads it, and to make one takes longer than many a run."""


LIMITS = Limits(
    max_payload_bytes=100_000,
    max_large_payload_bytes=2000,
    max_kept_result_bytes=1500,
    max_nesting_depth=4,
    max_calls_per_offering_client=3,
    max_tools_per_client=4,
)
"""Small, so that they are met."""

GRACE_SECONDS = 1.0
"""For bulk lanes that are open when a replica stops."""


class Replica:
    """One process."""

    def __init__(self, shared: SharedStore) -> None:
        self.id = new_id()
        self.store = ReplicaStore(shared)
        store: Any = self.store
        self.flow = Flow(_TELEMETRY, LIMITS, store, self.id)
        self.sessions, self.idempotency = self.flow.sessions, self.flow.idempotency
        self.fleet = Fleet(self.flow, store)
        self.lanes = Lanes()
        self.links = LinkServicer(self.flow, self.fleet, store, self.id, self.lanes, Door(Gate(), Access()))
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    async def start(self) -> None:
        await self.fleet.roster.load()
        if self._stopped:
            return
        for work in (self.fleet.run(), self.sessions.upkeep.run(), self.idempotency.upkeep.run()):
            self._run(work)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"upkeep of {self.id}"))

    async def stop(self) -> None:
        """What the server's own stop does in the end."""
        self._stopped = True
        self.links.close("this replica stops")
        await self.links.bulk.finish(0.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self.fleet.stop(), self.flow.stop())


class Host:
    """Where a replica runs: one process after another."""

    def __init__(self, name: str, network: Network, shared: SharedStore) -> None:
        self.name, self._network, self._shared = name, network, shared
        self.replica: Replica | None = None

    async def start(self) -> None:
        if self.replica is None:
            self.replica = Replica(self._shared)
            self._network.hosts[self.name] = {"Link": self.replica.links.Link}  # type: ignore[dict-item]
            self._network.lane_ports[self.name] = self.replica.lanes
            await self.replica.start()

    def _take_down(self) -> Replica | None:
        replica, self.replica = self.replica, None
        self._network.hosts.pop(self.name, None)
        return replica

    async def kill(self) -> None:
        """At once: what it still would have done does not reach anybody."""
        replica = self._take_down()
        if replica is None:
            return
        replica.store.dead = True
        chance = self._network.chance
        for connection in [each for each in self._network.connections if each.replica == self.name]:
            noticed = chance.random() * chance.choice([0.01, 0.01, 1.0])
            connection.cut(arrives=False, up_notices=0.0, down_notices=noticed)
        await asyncio.sleep(0)
        await replica.stop()

    async def stop(self, drain: float) -> None:
        """On TERM: finish what is open, within `drain` seconds, and go."""
        replica = self.replica
        if replica is None:
            return
        replica.links.go_away()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await replica.flow.calls.idle()
        if self.replica is replica:
            self._take_down()
            replica.links.close("this replica stops")
            await replica.links.bulk.finish(GRACE_SECONDS)
            await replica.stop()
