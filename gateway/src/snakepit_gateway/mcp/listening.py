"""Who wants to hear when a pool's tools change. One poll a pool asks for all of its listeners, while there are any."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable

from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

from snakepit import Pool, ToolInfo
from snakepit.errors import CallerLimit, PoolNotFound, SnakepitError
from snakepit_gateway.mcp.asked import tools_now

POLL_SECONDS = 1.0
MOST_LISTENERS = 2048
"""Of a gateway."""


class Watch:
    """One pool's: what its listeners hear is on the `bus`."""

    def __init__(self, leaving: asyncio.Event) -> None:
        self._leaving = leaving
        self.bus = InMemorySubscriptionBus()
        self.handler = ListenHandler(self.bus, max_subscriptions=MOST_LISTENERS, max_buffered_events=16)
        self.askers: deque[Pool] = deque()
        self.poll: asyncio.Task[None] | None = None
        self.looked = asyncio.Event()

    async def run(self) -> None:
        """Ask as one listener after the other, each with its own rights: where one may no more, the next is asked for."""
        known: list[ToolInfo] | None = None
        while not self._leaving.is_set():
            self.askers.rotate()
            with contextlib.suppress(SnakepitError):  # not swallowed: it is asked again, and a caller is told at its own next request
                now = await _tools(self.askers[0])
                if known is not None and now != known:
                    await self.bus.publish(ToolsListChanged())
                known = now
            self.looked.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), POLL_SECONDS)
        self.looked.set()
        self.handler.close()  # their clients listen elsewhere


class Watches:
    """All that is watched here. A gateway that restarts forgets them, and their listeners come again."""

    def __init__(self, leaving: asyncio.Event, count: Callable[[int], None] = lambda _: None) -> None:
        """`leaving`: every stream comes to its end in good order. `count` is told of each that begins, and of its end."""
        self._leaving, self._count = leaving, count
        self._of: dict[str, Watch] = {}
        self._listeners = 0

    @contextlib.asynccontextmanager
    async def watching(self, pool: Pool) -> AsyncIterator[Watch]:
        """Whatever changes from now on is heard of. Raises CallerLimit."""
        if self._listeners >= MOST_LISTENERS:
            raise CallerLimit(f"this gateway has {MOST_LISTENERS} listeners already", details={"limit": "listeners"}, retry_after=30)
        watch = self._of.setdefault(pool.name, Watch(self._leaving))
        watch.askers.append(pool)
        self._listeners += 1
        self._count(1)
        if watch.poll is None:
            watch.poll = asyncio.create_task(watch.run(), name=f"watch the tools of {pool.name}")
        try:
            await watch.looked.wait()
            yield watch
        finally:
            self._listeners -= 1
            self._count(-1)
            watch.askers.remove(pool)
            if not watch.askers:
                watch.poll.cancel()
                del self._of[pool.name]


async def _tools(pool: Pool) -> list[ToolInfo]:
    try:
        return await tools_now(pool)
    except PoolNotFound:
        return []
