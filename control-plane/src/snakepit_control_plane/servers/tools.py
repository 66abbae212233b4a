"""ToolService: what a pool can do, and what clients offer to its workers."""

from __future__ import annotations

from typing import Any

import grpc

from snakepit.v1 import tool_pb2, tool_pb2_grpc
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.catalogue import Catalogue, get_tool, list_tools
from snakepit_control_plane.servers.rpc import full_name, rich

Context = grpc.aio.ServicerContext[Any, Any]


class ToolServicer(tool_pb2_grpc.ToolServiceServicer):
    """Serves what the proto's comments say."""

    def __init__(self, flow: Flow, offered: Catalogue[Any]) -> None:
        self._flow = flow
        self._offered = offered

    @rich
    async def ListTools(self, request: tool_pb2.ListToolsRequest, context: Context) -> tool_pb2.ListToolsResponse:  # noqa: N802
        pool = self._flow.pools.find(full_name(request.pool))
        return tool_pb2.ListToolsResponse(tools=list_tools(pool, self._offered, request.session_id), description=pool.description)

    @rich
    async def GetTool(self, request: tool_pb2.GetToolRequest, context: Context) -> tool_pb2.GetToolResponse:  # noqa: N802
        pool = self._flow.pools.find(full_name(request.pool))
        return tool_pb2.GetToolResponse(tool=get_tool(pool, self._offered, request.tool))
