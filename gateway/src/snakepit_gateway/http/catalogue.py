"""What is known of tools that were called lately: asked once in a while for each, with the rights of whoever calls it."""

from __future__ import annotations

import time

from snakepit.client.pool import Pool
from snakepit.client.views import ToolInfo

KEPT_SECONDS = 10.0
MOST_KEPT = 10_000


class Catalogue:
    """Of all pools. The tool itself is called by its worker's own description, whatever is known here."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[ToolInfo, float]] = {}

    async def tool(self, pool: Pool, name: str) -> ToolInfo:
        """Raises SnakepitError."""
        which, now = (pool.name, name), time.monotonic()
        found = self._kept.get(which)
        if found is not None and found[1] > now:
            return found[0]
        tool = await pool.tool(name)
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[which] = tool, now + KEPT_SECONDS
        return tool
