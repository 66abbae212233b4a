"""The tools of a pool, as its workers offer them. Pure look-ups; the pool collects them as agents come and go."""

from __future__ import annotations

from snakepit.errors import ToolNotFound
from snakepit.names import nearest
from snakepit.v1 import common_pb2
from snakepit_control_plane.router.pool import Pool


def list_tools(pool: Pool) -> list[common_pb2.Tool]:
    return [tool for _, tool in sorted(pool.tools.items())]


def get_tool(pool: Pool, name: str) -> common_pb2.Tool:
    """Raises ToolNotFound with the nearest names."""
    tool = pool.tools.get(name)
    if tool is None:
        names = nearest(name, pool.tools)
        hint = f": did you mean {' or '.join(names)}?" if names else ""
        raise ToolNotFound(f"pool {pool.name} has no tool {name!r}{hint}", details={"nearest": ",".join(names)})
    return tool
