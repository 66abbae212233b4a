"""The talk with one control-plane replica: what it should hold, what it says that it holds, and the next request to it.

Level-triggered: each answer says what the replica holds, and what it is sent next is whatever differs from what it should hold. Nothing is
remembered of what was sent but the number of the request, which the answer to it repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
from grpc.aio import EOF  # type: ignore[attr-defined]  # grpc-stubs lag behind

from snakepit._wire.messages import settings_digest
from snakepit.v1 import fleet_pb2, link_pb2
from snakepit_operator.model import CapsuleView
from snakepit_operator.views import capsules_of

REFRESH_SECONDS = 5.0
"""A request goes out at least this often, and each is answered. What a replica does not take is sent again as often, and so often it is
asked for everything: in between, for what has changed.
"""
SILENCE_SECONDS = 15.0
REQUEST_BYTES = 1024 * 1024
"""Settings in one request: more of them go in several."""


class Call(Protocol):
    """A stream of FleetService.Sync."""

    async def write(self, request: fleet_pb2.SyncRequest) -> None:
        """Send a request."""

    async def read(self) -> Any:
        """The next answer; EOF when there is none any more."""


class Settings(msgspec.Struct, frozen=True):
    """What a replica should hold of one pool."""

    settings: link_pb2.PoolSettings
    digest: bytes

    @classmethod
    def of(cls, settings: link_pb2.PoolSettings) -> Settings:
        """The settings with their digest, which replicas repeat."""
        return cls(settings, settings_digest(settings))


class Drains(msgspec.Struct, frozen=True):
    """The capsules of one pool that should end, those of them that somebody else deletes, and others that get no new calls for now.

    By the uids of their pods.
    """

    names: frozenset[str] = frozenset()
    evicted: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()


class Wanted:
    """What every replica should hold. `pools` is None until all are known: a replica drops what isn't listed.

    `version` grows with each change.
    """

    def __init__(self) -> None:
        self.pools: dict[str, Settings] | None = None
        self.drains: dict[str, Drains] = {}
        self.version = 0


class Replica:
    """One talk. `answer` is the last, `states` what it says of each pool. All that was wanted at version `confirmed` is held, it says."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.answer: fleet_pb2.SyncResponse | None = None
        self.states: Mapping[str, fleet_pb2.PoolState] = {}
        self.capsules: Mapping[str, tuple[CapsuleView, ...]] = {}
        """Those of each state, read when it came: there are more looks at a pool than answers."""
        self.confirmed = -1
        self.changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._sent = 0
        self._covers = -1
        self._asked: Mapping[str, bytes] | None = None
        """What should be held of each pool after the request that is on its way."""
        self._round: dict[str, bytes] = {}
        """What has gone out since there was room for all, so that what a replica doesn't take leaves room for the rest."""
        self._whole_at = -math.inf
        """When an answer had all pools, by the event loop's clock."""
        self._brief = False
        """The request that is on its way asks for changes only."""
        self._left = False
        """The last request had no room for all that should go out."""

    async def talk(self, call: Call, heard: Callable[[], Awaitable[None]]) -> None:
        """Talk until the stream ends, or breaks. `heard` is told of each answer, after it was taken note of.

        Raises TimeoutError when the replica doesn't answer, and whatever the stream does.
        """
        tasks = {asyncio.create_task(self._send(call), name="sync to"), asyncio.create_task(self._listen(call, heard), name="sync from")}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._asked = None

    async def _listen(self, call: Call, heard: Callable[[], Awaitable[None]]) -> None:
        while (answer := await call.read()) is not EOF:
            self._take(answer)
            await heard()

    async def _send(self, call: Call) -> None:
        """One request at a time: what changes while it is on its way goes out with the next."""
        while True:
            self.changed.clear()
            if self._wanted.pools is None:
                await self.changed.wait()
                continue
            request = self._request(self._wanted.pools)
            self._answered.clear()
            async with asyncio.timeout(SILENCE_SECONDS):
                await call.write(request)
                await self._answered.wait()
            if self._left:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self.changed.wait()

    def _request(self, pools: Mapping[str, Settings]) -> fleet_pb2.SyncRequest:
        """All that differs, as far as there is room. What it says is fixed here, before it is written."""
        differ = self._differing()
        names = [name for name, each in pools.items() if name in differ and self._round.get(name) != each.digest]
        chosen = _fitting(names, pools)
        self._left = len(chosen) < len(names)
        self._round = {**self._round, **{name: pools[name].digest for name in chosen}} if self._left else {}
        self._asked = {name: each.digest for name, each in pools.items()}
        self._sent += 1
        self._brief = asyncio.get_running_loop().time() - self._whole_at < REFRESH_SECONDS
        self._covers = -1 if self._left else self._wanted.version
        drains = self._wanted.drains.values()
        return fleet_pb2.SyncRequest(
            version=self._sent,
            pools=chosen.values(),
            complete=not self._left,
            names=() if self._left else pools,
            drain_capsules=sorted(name for each in drains for name in each.names),
            evicted_capsules=sorted(name for each in drains for name in each.evicted),
            held_capsules=sorted(name for each in drains for name in each.held),
            changes_only=self._brief,
        )

    def _take(self, answer: fleet_pb2.SyncResponse) -> None:
        before = self._differing()
        self.answer = answer
        told = {each.pool.name: each for each in answer.pools}
        self.states = {**self.states, **told} if answer.partial else told
        read = {name: capsules_of(each) for name, each in told.items()}
        self.capsules = {**self.capsules, **read} if answer.partial else read
        if not answer.partial:
            self._whole_at = asyncio.get_running_loop().time()
        if answer.version == self._sent and (self._brief or not answer.partial):
            self.confirmed, self._asked = max(self.confirmed, self._covers), None
            self._answered.set()
        if self._differing() - before:
            self.changed.set()  # It was told otherwise, by somebody else.

    def _differing(self) -> set[str]:
        """Pools of which the replica does not hold what it should, and those that should not be there."""
        wanted = self._wanted.pools or {}
        held = {name: state.settings_digest for name, state in self.states.items()}
        return {name for name in held.keys() | wanted.keys() if name not in wanted or held.get(name) != wanted[name].digest}

    def holds(self, pool: str, wanted: Settings | None) -> bool:
        """Whether it has said last that it holds these settings, and no older word of ours is on its way to it."""
        state = self.states.get(pool)
        if wanted is None or state is None or state.settings_digest != wanted.digest:
            return False
        return self._asked is None or self._asked.get(pool) == wanted.digest


def _fitting(names: Iterable[str], pools: Mapping[str, Settings]) -> dict[str, link_pb2.PoolSettings]:
    """The first of them that one request has room for; one in any case."""
    found: dict[str, link_pb2.PoolSettings] = {}
    size = 0
    for name in names:
        settings = pools[name].settings
        size += settings.ByteSize()
        if found and size > REQUEST_BYTES:
            break
        found[name] = settings
    return found
