"""What both ends make of a message in the same way. Pure."""

from __future__ import annotations

from snakepit._ipc.frames import ToolInfo
from snakepit._values.digests import of_parts
from snakepit.v1 import common_pb2, link_pb2


def settings_digest(settings: link_pb2.PoolSettings) -> bytes:
    """16 bytes, of everything that the settings say: by it an operator knows that a replica holds those that it was sent."""
    return of_parts(part.encode() for part in (settings.pool, settings.uid, str(settings.generation), settings.spec))


def tool_to_wire(tool: ToolInfo) -> common_pb2.Tool:
    """A tool of an agent's workers, or of a client's offer, as the catalogue gets it; who provides it is for the control plane to say."""
    return common_pb2.Tool(**{field: getattr(tool, field) for field in ToolInfo.__struct_fields__})
