"""FleetService.Sync: the operator's settings in, the fleet's state out; once for each request, and when something has changed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import grpc

from snakepit.errors import SnakepitError
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, pool_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet import Fleet
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.workers import Capsule
from snakepit_control_plane.servers.rpc import EOF, abort, metadata

CHANGE_SECONDS = 1.0
"""Changes are told at most this often."""

Context = grpc.aio.ServicerContext[Any, Any]


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    def __init__(self, fleet: Fleet, replica: str, gate: Gate) -> None:
        self._gate = gate
        self._fleet = fleet
        self._replica = replica

    async def Sync(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        try:
            await self._gate.admit_operator(metadata(context))
        except SnakepitError as error:
            await abort(context, error)
            return
        # A stream takes one write at a time.
        writing = asyncio.Lock()
        changes = asyncio.create_task(self._tell_changes(context, writing))
        try:
            while (request := cast(fleet_pb2.SyncRequest, await context.read())) is not EOF:
                drain, evicted = request.drain_capsules, request.evicted_capsules
                await self._fleet.sync(list(request.pools), complete=request.complete, drain=drain, evicted=evicted)
                async with writing:
                    await context.write(self.state())
        except SnakepitError as error:
            await abort(context, error)
        finally:
            changes.cancel()
            await asyncio.gather(changes, return_exceptions=True)

    async def _tell_changes(self, context: Context, writing: asyncio.Lock) -> None:
        seen = self._fleet.changes.count
        while True:
            seen = await self._fleet.changes.wait_beyond(seen)
            async with writing:
                await context.write(self.state())
            await asyncio.sleep(CHANGE_SECONDS)

    def state(self) -> fleet_pb2.SyncResponse:
        problem = self._fleet.store.problem
        return fleet_pb2.SyncResponse(
            replica=self._replica,
            session_store_ready=not problem,
            session_store_message=problem,
            pools=[self._pool(pool) for pool in self._fleet.router.pools.values()],
        )

    def _pool(self, pool: Pool) -> fleet_pb2.PoolState:
        return fleet_pb2.PoolState(
            pool=pool.describe(),
            capsules=[*map(_lost, pool.lost), *map(self._capsule, pool.capsules.values())],
            tools=sorted(pool.tools),
            silence_held=pool.silence_held,
        )

    def _capsule(self, capsule: Capsule) -> fleet_pb2.CapsuleState:
        return fleet_pb2.CapsuleState(
            name=capsule.name,
            incarnation=capsule.incarnation,
            pod_uid=capsule.pod_uid,
            liveness=capsule.liveness,
            draining=capsule.draining or capsule.cordoned,
            sessions=self._fleet.router.sessions.upkeep.bound_to(capsule.name),
            running=sum(worker.load for worker in capsule.everyone),
            workers=[worker.info for worker in capsule.workers.values()],
            recycled=capsule.recycled,
        )


def _lost(capsule: tuple[str, str, str]) -> fleet_pb2.CapsuleState:
    name, incarnation, pod_uid = capsule
    return fleet_pb2.CapsuleState(name=name, incarnation=incarnation, pod_uid=pod_uid, liveness=pool_pb2.LIVENESS_LOST)
