"""The store as a replica reaches it: the memory store behind a connection that takes a while, and that may be away for a while."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from simulation.network import TICK

from snakepit.errors import StoreUnavailable
from snakepit_control_plane.store.memory import MemoryStore

if TYPE_CHECKING:
    from simulation.account import Account


class SharedStore:
    """What all replicas share. `acts`: while it is away it does what it is asked, and its answers are lost."""

    def __init__(self, account: Account, chance: random.Random) -> None:
        self.loop = asyncio.get_running_loop()
        self.memory = MemoryStore(self.loop.time)
        self.account = account
        self.chance = chance
        self.away = False
        self.acts = False
        self.returns = 0

    def come_back(self) -> None:
        self.returns += self.away
        self.away = False

    def empty(self) -> None:
        """Everything is lost."""
        self.memory = MemoryStore(self.loop.time)


class ReplicaStore:
    """A replica's own connection: operations are carried out in the order in which they were sent. `dead`: its process is."""

    def __init__(self, shared: SharedStore) -> None:
        self.shared = shared
        # When the last message arrives: there, and back.
        self._last = {"there": 0.0, "back": 0.0}
        self.dead = False
        self.claims = _Claims(self)

    @property
    def problem(self) -> str:
        return "it is away" if self.shared.away else ""

    @property
    def returns(self) -> int:
        return self.shared.returns

    def measure(self, told: object) -> None:
        """Nothing is measured."""

    def __getattr__(self, name: str) -> Any:
        return self.operation(self.shared.memory, name)

    def operation(self, of: Any, name: str) -> Any:
        carry_out = getattr(of, name)
        shared = self.shared

        async def asked(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                raise StoreUnavailable("this process is dead")
            await self._pass("there")
            if self.dead or (shared.away and not shared.acts):
                raise StoreUnavailable("it is away")
            answer = await carry_out(*args, **kwargs)
            await shared.account.stored(name, args, answer, shared.memory)
            await self._pass("back")
            if self.dead or shared.away:
                raise StoreUnavailable("it is away, but this has happened")
            return answer

        return asked

    async def _pass(self, way: str) -> None:
        """A message on its way, behind those before it."""
        loop = self.shared.loop
        self._last[way] = at = max(self._last[way] + TICK, loop.time() + self.shared.chance.random() * 0.001)
        arrived = loop.create_future()
        loop.call_at(at, _arrive, arrived)
        await arrived


def _arrive(message: asyncio.Future[None]) -> None:
    if not message.done():
        message.set_result(None)


class _Claims:
    def __init__(self, store: ReplicaStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        claims = self._store.shared.memory.claims
        return getattr(claims, name) if name == "watch" else self._store.operation(claims, name)
