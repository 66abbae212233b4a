"""Whose request it is, for which pool, and how they want to be served. Also what is known of the pool's tools, for a moment."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from snakepit import Pool, ToolInfo
from snakepit.client.client import Pools
from snakepit.errors import PoolNotReady, SnakepitError

FRESH_SECONDS = 10.0
"""So long a caller's list of a pool's tools counts for what a call needs to know of its tool. Who lists them gets them anew."""
MOST_KEPT = 512

START_SECONDS = 10.0
"""So long a list waits for the first worker of a pool, and looks so often:"""
LOOK_SECONDS = 0.25
_STARTING = ("NoCapsule", "NoWorker", "Starting")

Tools = Mapping[str, ToolInfo]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Asked:
    """One request. `sessions`: the pool's tools take a session. `timeout` in seconds, None: the tool's own."""

    pools: Pools | None
    name: str
    sessions: bool = True
    timeout: float | None = None
    conversation: str = ""
    """Of a client before 2026-07-28, over HTTP: by it, and a request's id, it says what to cancel. Nobody else can know it."""
    tools: Tools = field(default_factory=dict)
    problem: SnakepitError | None = None
    """Why nobody knows the tools, or whose request it is."""

    @property
    def pool(self) -> Pool:
        """Its results have files with their media types. Raises the problem, where there is one."""
        if self.pools is None or self.problem is not None:
            raise self.problem or SnakepitError("nobody knows who asks")
        return self.pools.pool(self.name, attachments=True)


class Catalogues:
    """What each caller has seen of each pool lately. A cache: whatever a caller may do, the control plane says at each call."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, str], tuple[float, Tools]] = OrderedDict()
        self._latest: OrderedDict[str, Tools] = OrderedDict()

    async def of(self, pools: Pools, pool: str, authorization: str) -> Tools:
        """Raises SnakepitError; so it is also the first to know that a token is worth nothing."""
        key = (hashlib.sha256(authorization.encode()).digest(), pool)
        until, tools = self._kept.get(key, (0.0, {}))
        if asyncio.get_running_loop().time() < until:
            return tools
        return await self.anew(pools, pool, key)

    async def anew(self, pools: Pools, pool: str, key: tuple[bytes, str]) -> Tools:
        tools: Tools = {tool.name: tool for tool in await tools_now(pools.pool(pool))}
        if not tools:  # A call waits for the workers; who comes next asks anew.
            return tools
        latest = self._latest.get(pool)
        tools = _keep(self._latest, pool, latest if latest == tools else tools)  # one copy for all callers
        _keep(self._kept, key, (asyncio.get_running_loop().time() + FRESH_SECONDS, tools))
        return tools


async def tools_now(pool: Pool) -> list[ToolInfo]:
    """Those of its workers; none while nobody knows of any. Raises SnakepitError."""
    try:
        return [each for each in await pool.tools() if each.provider == "worker"]
    except PoolNotReady:
        return []


async def tools_soon(pool: Pool) -> list[ToolInfo]:
    """As `tools_now`, but workers that are only just starting are waited for: many a client asks once, and goes by that.

    Raises SnakepitError.
    """
    now = asyncio.get_running_loop().time
    end = now() + START_SECONDS
    while not (found := await tools_now(pool)) and now() < end:
        if not await is_starting(pool):
            return await tools_now(pool)  # The first may have come between the two questions.
        await asyncio.sleep(LOOK_SECONDS)
    return found


async def is_starting(pool: Pool) -> bool:
    """Will it have its first worker without being asked? Raises SnakepitError."""
    try:
        return (await pool.info()).reason in _STARTING
    except PoolNotReady:  # Its replica is.
        return True


def _keep(kept: OrderedDict[K, V], key: K, value: V) -> V:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return value
