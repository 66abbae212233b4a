"""PoolService and ToolService: looking at pools, at their workers, log lines and tools, and maintenance of one worker."""

from __future__ import annotations

from typing import Any

import grpc

from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments
from snakepit.v1 import link_pb2, pool_pb2, pool_pb2_grpc, tool_pb2, tool_pb2_grpc
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.catalogue import Catalogue, get_tool, list_tools
from snakepit_control_plane.policy.rights import LOOK, MAINTAIN, READ_LOGS
from snakepit_control_plane.servers.bounds import DEFAULT_LINES, check_log_lines
from snakepit_control_plane.servers.door import Door, find_pool
from snakepit_control_plane.servers.rpc import full_name

Context = grpc.aio.ServicerContext[Any, Any]


class PoolServicer(pool_pb2_grpc.PoolServiceServicer):
    """Serves what the proto's comments say, of this replica's pools."""

    def __init__(self, flow: Flow, fleet: Fleet, door: Door) -> None:
        self._flow = flow
        self._door = door
        self._fleet = fleet

    async def ListPools(self, request: pool_pb2.ListPoolsRequest, context: Context) -> pool_pb2.ListPoolsResponse:  # noqa: N802
        """Those that the caller may look at."""
        caller = await self._door.caller(context)
        allowed = [pool for pool in self._flow.pools.all() if await self._door.access.may(caller, LOOK, pool.name)]
        return pool_pb2.ListPoolsResponse(pools=[pool.describe(self._flow.clock()) for pool in allowed])

    async def GetPool(self, request: pool_pb2.GetPoolRequest, context: Context) -> pool_pb2.GetPoolResponse:  # noqa: N802
        pool, _ = await find_pool(self._door, self._flow.pools, context, LOOK, request.pool)
        self._flow.pools.check_linked(pool)
        return pool_pb2.GetPoolResponse(pool=pool.describe(self._flow.clock()), spec=pool.settings.spec)

    async def ListWorkers(self, request: pool_pb2.ListWorkersRequest, context: Context) -> pool_pb2.ListWorkersResponse:  # noqa: N802
        pool, _ = await find_pool(self._door, self._flow.pools, context, LOOK, request.pool)
        self._flow.pools.check_linked(pool)
        return pool_pb2.ListWorkersResponse(workers=pool.infos())

    async def DrainWorker(self, request: pool_pb2.DrainWorkerRequest, context: Context) -> pool_pb2.DrainWorkerResponse:  # noqa: N802
        worker = await self._worker(request, context)
        self._fleet.drain(worker.capsule, worker)
        return pool_pb2.DrainWorkerResponse()

    async def RecycleWorker(self, request: pool_pb2.RecycleWorkerRequest, context: Context) -> pool_pb2.RecycleWorkerResponse:  # noqa: N802
        worker = await self._worker(request, context)
        self._fleet.drain(worker.capsule, worker, recycle=True)
        return pool_pb2.RecycleWorkerResponse()

    async def ListLogLines(  # noqa: N802
        self, request: pool_pb2.ListLogLinesRequest, context: Context
    ) -> pool_pb2.ListLogLinesResponse:
        """Its lines are the API server's to show, by `kubectl logs`: who may see them there may see them here."""
        caller = await self._door.caller(context)
        check_log_lines(request)
        pool = self._flow.pools.find(full_name(request.pool))
        named = [each for each in pool.capsules.values() if each.name == request.capsule]
        # Of a pod that there is, or of all: whoever makes names up has nothing asked.
        await self._door.access.check(caller, READ_LOGS, f"{pool.name.partition('/')[0]}/{request.capsule if named else ''}")
        capsule = next((each for each in named if each.linked), None)
        if capsule is None:
            raise InvalidArguments(f"no capsule {quoted(request.capsule)} of pool {pool.name} is linked to this replica")
        wanted = link_pb2.LogLinesRequest(worker=request.worker, call_id=request.call_id, limit=request.limit or DEFAULT_LINES)
        reply = await self._flow.log_lines.ask(capsule, wanted)
        return pool_pb2.ListLogLinesResponse(lines=reply.lines, problem=reply.problem)

    async def _worker(self, request: pool_pb2.DrainWorkerRequest | pool_pb2.RecycleWorkerRequest, context: Context) -> Worker:
        pool, _ = await find_pool(self._door, self._flow.pools, context, MAINTAIN, request.pool)
        self._flow.pools.check_linked(pool)
        worker = pool.workers.get(name := request.worker)
        if worker is None:
            known = ", ".join(sorted(pool.workers)[:10]) or "none"
            raise InvalidArguments(f"pool {pool.name} has no worker {quoted(name)}: it has {known}")
        return worker


class ToolServicer(tool_pb2_grpc.ToolServiceServicer):
    """Serves what the proto's comments say."""

    def __init__(self, flow: Flow, offered: Catalogue[Any], door: Door) -> None:
        self._flow = flow
        self._door = door
        self._offered = offered

    async def ListTools(self, request: tool_pb2.ListToolsRequest, context: Context) -> tool_pb2.ListToolsResponse:  # noqa: N802
        pool, caller = await find_pool(self._door, self._flow.pools, context, LOOK, request.pool)
        tools = list_tools(pool, self._offered, request.session_id, caller.sender)
        return tool_pb2.ListToolsResponse(tools=tools, description=pool.description)

    async def GetTool(self, request: tool_pb2.GetToolRequest, context: Context) -> tool_pb2.GetToolResponse:  # noqa: N802
        pool, _ = await find_pool(self._door, self._flow.pools, context, LOOK, request.pool)
        return tool_pb2.GetToolResponse(tool=get_tool(pool, self._offered, request.tool))
