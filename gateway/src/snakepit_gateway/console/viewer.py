"""What one person may see, asked of the control plane with their own token; what several look at is asked for once."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from snakepit.client.client import Pools
from snakepit.client.history import PoolHistory
from snakepit.client.pool import Pool
from snakepit.client.views import CallerInfo, CallInfo, CallList, LogLines, PoolInfo, SessionInfo, ToolInfo, WorkerInfo
from snakepit.errors import PoolNotReady
from snakepit_gateway.console.shared import Shared

T = TypeVar("T")

CALL = "create snakepools/call"
CANCEL = "delete snakepools/calls"
READ_LOGS = "get pods/log"
SESSION = {"read": "get snakepools/sessions", "rebind": "update snakepools/sessions", "delete": "delete snakepools/sessions"}
"""On those of others. One's own are one's own."""

ENDED = "ended"
"""A call's state, after which it changes no more."""

RIGHTS_SECONDS = 10.0
"""Until they are looked at again."""


@dataclass(frozen=True)
class Viewer:
    """`token` empty: nobody is asked who they are here. `typed`: the token came from the sign-in page."""

    pools: Pools
    shared: Shared
    token: str
    typed: bool

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.token.encode()).hexdigest() if self.token else ""

    def pool(self, name: str) -> Pool:
        """Raises InvalidArguments."""
        return self.pools.pool(name)

    async def who(self) -> CallerInfo:
        return await self._shared("who", "", 30.0, self.pools.whoami)

    async def everything(self) -> list[PoolInfo]:
        return await self._shared("pools", "", 1.0, self.pools.pools)

    async def rights(self, name: str) -> frozenset[str]:
        return await self._shared("rights", name, RIGHTS_SECONDS, self.pool(name).rights)

    async def info(self, name: str) -> PoolInfo:
        return await self._shared("info", name, 0.4, self.pool(name).info)

    async def workers(self, name: str) -> list[WorkerInfo]:
        return await self._shared("workers", name, 0.4, self.pool(name).workers)

    async def spec(self, name: str) -> dict[str, Any]:
        return await self._shared("spec", name, 5.0, self.pool(name).spec)

    async def tools(self, name: str) -> list[ToolInfo]:
        """An empty list while nobody knows of any: why, the pool's head says."""
        try:
            return await self._shared("tools", name, 5.0, self.pool(name).tools)
        except PoolNotReady:
            return []

    async def sessions(self, name: str) -> list[SessionInfo]:
        return await self._shared("sessions", name, 3.0, self.pool(name).sessions)

    async def history(self, name: str, every: float) -> PoolHistory:
        return await self._shared("history", name, every, self.pool(name).history)

    async def calls(self, name: str, every: float, **filters: Any) -> list[CallInfo]:
        key = "calls " + repr(sorted(filters.items()))
        return await self._shared(key, name, every, lambda: self.pool(name).calls(**filters))

    async def all_calls(self, every: float = 1.0, **filters: Any) -> CallList:
        """Of every pool, those that its reader may see."""
        key = "calls " + repr(sorted(filters.items()))
        return await self._shared(key, "", every, lambda: self.pools.calls(**filters))

    async def find_call(self, call_id: str) -> CallInfo:
        """Of whichever pool."""
        return await self._shared(f"call {call_id}", "", 0.4, lambda: self.pools.call_info(call_id))

    async def call(self, name: str, call_id: str) -> CallInfo:
        """Each question has every replica look through its records: of a call that has ended it is seldom asked."""
        key = (self.identity, name, f"call {call_id}")
        return await self.shared.get(key, 0.4, lambda: self.pool(name).call_info(call_id), lambda found: found.state == ENDED)

    async def log_lines(self, name: str, worker: str, call_id: str, limit: int, every: float) -> LogLines:
        """Of a worker or a capsule. Each question goes to its agent."""
        key = f"log {worker} {call_id}"
        return await self._shared(key, name, every, lambda: self.pool(name).log_lines(worker, call_id=call_id, limit=limit))

    def changed(self, name: str) -> None:
        """Something of the pool was: nobody is shown what was before."""
        self.shared.forget((self.identity, name))

    async def _shared(self, what: str, name: str, seconds: float, ask: Callable[[], Awaitable[T]]) -> T:
        return await self.shared.get((self.identity, name, what), seconds, ask)
