"""ReplicaService: what a replica says of itself, to whoever looks for what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from snakepit import __version__
from snakepit.v1 import replica_pb2, replica_pb2_grpc
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.model.store_pace import StorePace
from snakepit_control_plane.servers.door import Door

Context = grpc.aio.ServicerContext[Any, Any]


class ReplicaServicer(replica_pb2_grpc.ReplicaServiceServicer):
    """Serves what the proto's comments say. `not_ready` and `store_note` are as the replica has them; `wall` is its clock."""

    def __init__(
        self,
        fleet: Fleet,
        door: Door,
        replica: str,
        not_ready: Callable[[], str],
        store_note: str,
        store_pace: StorePace,
        wall: Callable[[], int] = time.time_ns,
    ) -> None:
        self._fleet, self._door, self._replica = fleet, door, replica
        self._not_ready, self._store_note, self._store_pace, self._wall = not_ready, store_note, store_pace, wall

    async def GetReplica(self, request: replica_pb2.GetReplicaRequest, context: Context) -> replica_pb2.GetReplicaResponse:  # noqa: N802
        await self._door.caller(context)
        problem = self._fleet.store.problem
        response = replica_pb2.GetReplicaResponse(
            replica=self._replica,
            version=__version__,
            store_ready=not problem,
            store_message=problem or self._store_note,
            not_ready=self._not_ready(),
            operator_away_seconds=self._fleet.roster.away_seconds,
            store_seconds=self._store_pace.seconds,
        )
        response.time.FromNanoseconds(self._wall())
        return response
