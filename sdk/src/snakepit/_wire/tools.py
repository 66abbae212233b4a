"""A tool as the catalogue gets it: of an agent's workers, or of a client's offer. Pure."""

from __future__ import annotations

from snakepit._ipc.frames import ToolInfo
from snakepit.v1 import common_pb2


def tool_to_wire(tool: ToolInfo) -> common_pb2.Tool:
    """The same tool as a message; who provides it is for the control plane to say."""
    return common_pb2.Tool(**{field: getattr(tool, field) for field in ToolInfo.__struct_fields__})
