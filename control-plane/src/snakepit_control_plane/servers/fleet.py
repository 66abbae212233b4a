"""FleetService.Sync: the operator's settings in, the fleet's state out; once for each request, and when something has changed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, cast

import grpc

from snakepit.errors import InvalidArguments, SnakepitError
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, pool_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.model.capsule import Capsule
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.servers.rpc import EOF, NO_MESSAGE, abort, metadata

CHANGE_SECONDS = 1.0
"""Changes are told at most this often."""

Context = grpc.aio.ServicerContext[Any, Any]


class _Talk:
    """The talk with one operator. `writing` is held for each message: a stream takes one at a time."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.writing = asyncio.Lock()
        self.version = 0
        self.complete = False


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """Serves the operator's streams. `store_note` is said of a store that is there."""

    def __init__(self, fleet: Fleet, replica: str, gate: Gate, store_note: str = "") -> None:
        self._store_note = store_note
        self._gate = gate
        self._fleet = fleet
        self._replica = replica

    async def Sync(self, request_iterator: object, context: Context) -> None:  # noqa: N802
        """One operator's stream, for as long as it lasts."""
        try:
            await self._gate.admit_operator(metadata(context))
        except SnakepitError as error:
            await abort(context, error)
            return
        talk = _Talk(context)
        changes = asyncio.create_task(self._tell_changes(talk))
        with contextlib.ExitStack() as listening:
            try:
                while (request := cast(fleet_pb2.SyncRequest, await context.read())) is not EOF:
                    if request is None:
                        await abort(context, InvalidArguments(NO_MESSAGE))
                    self._carry_out(request)
                    talk.version = request.version
                    if request.complete and not talk.complete:
                        talk.complete = True
                        listening.enter_context(self._fleet.roster.listening())
                    await self._answer(talk)
            finally:
                changes.cancel()
                await asyncio.gather(changes, return_exceptions=True)

    def _carry_out(self, request: fleet_pb2.SyncRequest) -> None:
        """Carry the request out without a pause, so that no answer is of half of one."""
        drain, evicted, held = request.drain_capsules, request.evicted_capsules, request.held_capsules
        self._fleet.sync(list(request.pools), complete=request.complete, drain=drain, evicted=evicted, held=held, names=request.names)

    async def _tell_changes(self, talk: _Talk) -> None:
        seen = self._fleet.changes.count
        while True:
            seen = await self._fleet.changes.wait_beyond(seen)
            await self._answer(talk)
            await asyncio.sleep(CHANGE_SECONDS)

    async def _answer(self, talk: _Talk) -> None:
        async with talk.writing:
            await talk.context.write(self.state(talk.version))

    def state(self, version: int = 0) -> fleet_pb2.SyncResponse:
        """Everything, as it is now, to an operator whose request `version` was the last to be carried out."""
        problem = self._fleet.store.problem
        return fleet_pb2.SyncResponse(
            replica=self._replica,
            session_store_ready=not problem,
            session_store_message=problem or self._store_note,
            pools=[self._pool(pool) for pool in self._fleet.flow.pools.values()],
            version=version,
            refused=self._fleet.roster.refused,
        )

    def _pool(self, pool: Pool) -> fleet_pb2.PoolState:
        return fleet_pb2.PoolState(
            pool=pool.describe(),
            capsules=[*map(_lost, pool.lost), *map(self._capsule, pool.capsules.values())],
            tools=sorted(pool.tools),
            silence_held=pool.silence_held,
            settings_digest=pool.digest,
            demand=pool.demand.message(self._fleet.flow.clock()),
        )

    def _capsule(self, capsule: Capsule) -> fleet_pb2.CapsuleState:
        return fleet_pb2.CapsuleState(
            name=capsule.name,
            incarnation=capsule.incarnation,
            pod_uid=capsule.pod_uid,
            liveness=capsule.liveness,
            draining=capsule.draining or capsule.cordoned,
            sessions=self._fleet.flow.sessions.upkeep.bound_to(capsule.name),
            running=sum(worker.load for worker in capsule.everyone),
            workers=[worker.info for worker in capsule.workers.values()],
            recycled=capsule.recycled,
            problem=capsule.problem,
        )


def _lost(capsule: tuple[str, str, str]) -> fleet_pb2.CapsuleState:
    name, incarnation, pod_uid = capsule
    return fleet_pb2.CapsuleState(name=name, incarnation=incarnation, pod_uid=pod_uid, liveness=pool_pb2.LIVENESS_LOST)
