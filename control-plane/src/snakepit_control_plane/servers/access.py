"""AccessService: who a caller is, and what it may do with a pool."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from snakepit.v1 import access_pb2, access_pb2_grpc
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.policy.rights import ON_POOLS, READ_LOGS
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.rpc import full_name

LAST = 253402300799
"""Of times that a Timestamp can say, in seconds since the epoch."""

Context = grpc.aio.ServicerContext[Any, Any]


class AccessServicer(access_pb2_grpc.AccessServiceServicer):
    """Serves what the proto's comments say."""

    def __init__(self, pools: Pools, door: Door) -> None:
        self._pools, self._door = pools, door

    async def WhoAmI(self, request: access_pb2.WhoAmIRequest, context: Context) -> access_pb2.WhoAmIResponse:  # noqa: N802
        caller = await self._door.caller(context)
        response = access_pb2.WhoAmIResponse(subject=caller.subject, groups=caller.groups)
        if caller.expires < LAST:
            response.expire_time.FromNanoseconds(int(caller.expires * 1e9))
        return response

    async def ListRights(self, request: access_pb2.ListRightsRequest, context: Context) -> access_pb2.ListRightsResponse:  # noqa: N802
        """Of pools that there are: whoever makes names up has nothing asked."""
        caller = await self._door.caller(context)
        pool = self._pools.find(full_name(request.pool))
        asked = {**dict.fromkeys(ON_POOLS, pool.name), READ_LOGS: f"{pool.name.partition('/')[0]}/"}
        answers = await asyncio.gather(*(self._door.access.answer(caller, right, what) for right, what in asked.items()))
        rights = [str(right) for right, answer in zip(asked, answers, strict=True) if answer.allowed]
        return access_pb2.ListRightsResponse(rights=rights)
