"""The operator's talk with every control-plane replica: settings and drains go out, the fleet's state comes back. It decides nothing.

Level-triggered: each answer of a replica says what it holds, and what it is sent next is whatever differs from what it should hold.
Nothing is remembered of what was sent but the number of the request, which the answer to it repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import grpc
import msgspec

from snakepit._wire.channels import client_options
from snakepit._wire.dial import BACKOFF_SECONDS, resolve
from snakepit._wire.link import EOF
from snakepit._wire.settings import settings_digest
from snakepit._wire.token import Token
from snakepit.errors import SnakepitError
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2
from snakepit_operator.model import CapsuleView, FleetView
from snakepit_operator.views import fleet_view

RESOLVE_SECONDS = 5.0
REFRESH_SECONDS = 5.0
"""A request goes out at least this often, and each is answered. What a replica does not take is sent again as often."""
FULL_SECONDS = 60.0
"""A replica is sent all settings at least this often, whatever it says that it holds: it passes them on to its store."""
SILENCE_SECONDS = 15.0
REQUEST_BYTES = 1024 * 1024
"""Settings in one request: more of them go in several."""

log = logging.getLogger(__name__)

OnChange = Callable[[str, bool], None]
"""`(pool, essential)`: the view of a pool changed; not essential: only in its counts."""


class Call(Protocol):
    """A stream of FleetService.Sync."""

    async def write(self, request: fleet_pb2.SyncRequest) -> None: ...

    async def read(self) -> Any: ...


Connect = Callable[[str], AbstractAsyncContextManager[Call]]


class _Drains(msgspec.Struct, frozen=True):
    """Of one pool: capsules that should take no new calls, and those of them that somebody else deletes."""

    names: frozenset[str] = frozenset()
    evicted: frozenset[str] = frozenset()


class _Wanted(msgspec.Struct, frozen=True):
    settings: link_pb2.PoolSettings
    digest: bytes


class _Replica:
    """One talk. `due`: pools to send whatever is held; `left`: the last request had no room for all that should go out.

    `asked`: by pool, what should be held after the request that is on its way.
    `round`: what has gone out since there was room for all, so that what a replica doesn't take leaves room for the rest.
    """

    def __init__(self) -> None:
        self.answer: fleet_pb2.SyncResponse | None = None
        self.states: Mapping[str, fleet_pb2.PoolState] = {}
        self.sent = 0
        self.covers = -1
        self.confirmed = -1
        self.full_at = -FULL_SECONDS
        self.due: set[str] = set()
        self.asked: Mapping[str, bytes] | None = None
        self.round: dict[str, bytes] = {}
        self.left = False
        self.changed = asyncio.Event()
        self.answered = asyncio.Event()


class Held(msgspec.Struct, frozen=True):
    """What a replica said last of a pool's settings."""

    generation: int
    digest: bytes
    refused: str = ""


class Fleet:
    """All replicas behind `target`. `view` is None while none of them answers."""

    def __init__(
        self,
        target: str,
        on_change: OnChange,
        token: Token | None = None,
        connect: Connect | None = None,
        look_up: Callable[[str], Awaitable[set[str]]] = resolve,
    ) -> None:
        self._target = target
        self._token = token or Token()
        self._on_change = on_change
        self._connect = connect or self._dial
        self._look_up = look_up
        self._wanted: dict[str, _Wanted] | None = None
        self._drains: dict[str, _Drains] = {}
        self._version = 0
        self._replicas: dict[str, _Replica] = {}
        # By address, of replicas whose talk has ended too: they may serve by it still.
        self._held: dict[str, dict[str, Held]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._views: dict[str, FleetView | None] = {}
        self._answered = asyncio.Condition()
        self.heard = asyncio.Event()
        """Set when the first replica has answered."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._follow(await self._look_up(self._target))
                await asyncio.sleep(RESOLVE_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def set_pools(self, pools: Iterable[link_pb2.PoolSettings]) -> None:
        """All pools there are: until the first time nothing is sent, for a replica drops what isn't listed."""
        new = {each.pool: _wanted(each) for each in pools}
        if new != self._wanted:
            self._wanted = new
            self._drains = {pool: drains for pool, drains in self._drains.items() if pool in new}
            self._tell()

    def put(self, settings: link_pb2.PoolSettings, drains: Iterable[str], evicted: Iterable[str] = ()) -> bool:
        """One pool's settings, its capsules that should take no new calls, and those of them that somebody else deletes.

        False: nothing is new about its settings.
        """
        drained, wanted = _Drains(frozenset(drains), frozenset(evicted)), _wanted(settings)
        if self._wanted is None:
            return False
        news = self._wanted.get(settings.pool) != wanted
        if news or self._drains.get(settings.pool, _Drains()) != drained:
            self._wanted[settings.pool] = wanted
            self._drains[settings.pool] = drained
            self._tell()
        return news

    def forget(self, pool: str) -> None:
        """The pool is gone."""
        self._views.pop(pool, None)
        self._drains.pop(pool, None)
        if self._wanted and self._wanted.pop(pool, None) is not None:
            self._tell()

    def view(self, pool: str) -> FleetView | None:
        """The pool as all answering replicas together see it."""
        answers = [each for each in self._replicas.values() if each.answer is not None]
        view = None
        if answers:
            states = [each.states[pool] for each in answers if pool in each.states]
            seen = fleet_view(states, [each.answer for each in answers if each.answer is not None])
            view = msgspec.structs.replace(seen, **self._standing(pool))
        self._views[pool] = view
        return view

    def _standing(self, pool: str) -> dict[str, Any]:
        """What replicas say that they hold of the pool's settings, compared with what they should."""
        wanted = self._wanted.get(pool) if self._wanted else None
        said = [self._held[each].get(pool) for each in self._tasks if each in self._held]
        others = [each for each in said if wanted is None or each is None or each.digest != wanted.digest]
        talks = [self._replicas[each] for each in self._tasks if each in self._held and each in self._replicas]
        reverted = [each for each in talks if wanted is not None and _will_revert(each, pool, wanted)]
        held = [each.generation for each in said if each is not None and each.digest]
        return {
            "unheard": sum(1 for each in self._tasks if (talk := self._replicas.get(each)) is None or talk.answer is None),
            "behind": len(others) + len(reverted),
            "held_generation": min(held) if held and len(held) == len(said) else None,
            "refused": next((each.refused for each in others if each is not None and each.refused), ""),
        }

    async def flushed(self, timeout: float) -> bool:
        """Wait until every replica has confirmed all that was told so far; False: not within `timeout`."""
        version = self._version
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._answered:
                await self._answered.wait_for(lambda: self._is_confirmed(version))
                return True
        return False

    def _is_confirmed(self, version: int) -> bool:
        return all((replica := self._replicas.get(each)) and replica.confirmed >= version for each in self._tasks)

    def _tell(self) -> None:
        self._version += 1
        for replica in self._replicas.values():
            replica.changed.set()

    def _follow(self, addresses: set[str]) -> None:
        for address in sorted(addresses - self._tasks.keys()):
            self._tasks[address] = asyncio.create_task(self._talk_forever(address), name=f"sync {address}")
        if not addresses:
            return  # a name that can't be looked up says nothing about the replicas that answer
        for address in sorted(self._tasks.keys() - addresses):
            self._tasks.pop(address).cancel()
            self._held.pop(address, None)

    async def _talk_forever(self, address: str) -> None:
        attempt = 0
        while True:
            replica = self._replicas[address] = _Replica()
            try:
                await self._talk(address, replica)
            except (grpc.RpcError, TimeoutError, SnakepitError) as error:
                log.log(logging.DEBUG if attempt else logging.WARNING, "no sync with %s: %s", address, _sentence(error))
            except Exception:  # Nobody else would ever talk to that address.
                log.exception("the talk with %s went wrong", address)
            finally:
                heard = replica.answer is not None
                if self._replicas.get(address) is replica:
                    del self._replicas[address]
                self._compare()
            attempt = 0 if heard else attempt + 1
            await asyncio.sleep(BACKOFF_SECONDS.jittered(attempt + 1, random.random))

    async def _talk(self, address: str, replica: _Replica) -> None:
        async with self._connect(address) as call:
            tasks = {
                asyncio.create_task(self._send(call, replica), name=f"sync to {address}"),
                asyncio.create_task(self._listen(call, address, replica), name=f"sync from {address}"),
            }
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _dial(self, address: str) -> AsyncIterator[Call]:
        async with grpc.aio.insecure_channel(address, options=client_options()) as channel:
            call = fleet_pb2_grpc.FleetServiceStub(channel).Sync(metadata=self._token.metadata() or None)
            try:
                yield call
            finally:
                call.cancel()

    async def _listen(self, call: Call, address: str, replica: _Replica) -> None:
        while (answer := await call.read()) is not EOF:
            await self._heard(address, replica, answer)

    async def _send(self, call: Call, replica: _Replica) -> None:
        """One request at a time: what changes while it is on its way goes out with the next."""
        while True:
            replica.changed.clear()
            if self._wanted is None:
                await replica.changed.wait()
                continue
            request = self._request(replica, self._wanted)
            replica.answered.clear()
            async with asyncio.timeout(SILENCE_SECONDS):
                await call.write(request)
                await replica.answered.wait()
            if replica.left:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await replica.changed.wait()

    def _request(self, replica: _Replica, wanted: Mapping[str, _Wanted]) -> fleet_pb2.SyncRequest:
        """All that differs, as far as there is room. What it says is fixed here, before it is written."""
        now = asyncio.get_running_loop().time()
        if now - replica.full_at >= FULL_SECONDS:
            replica.full_at = now
            replica.due = set(wanted)
        differ = {name for name in _differing(replica, wanted) & wanted.keys() if replica.round.get(name) != wanted[name].digest}
        names = [name for name in wanted if name in replica.due or name in differ]
        chosen = _fitting(names, wanted)
        replica.due -= chosen.keys()
        replica.left = len(chosen) < len(names)
        replica.round = {**replica.round, **{name: wanted[name].digest for name in chosen}} if replica.left else {}
        replica.asked = {name: each.digest for name, each in wanted.items()}
        replica.sent += 1
        replica.covers = -1 if replica.left else self._version
        return fleet_pb2.SyncRequest(
            version=replica.sent,
            pools=chosen.values(),
            complete=not replica.left,
            names=() if replica.left else wanted,
            drain_capsules=sorted(name for drains in self._drains.values() for name in drains.names),
            evicted_capsules=sorted(name for drains in self._drains.values() for name in drains.evicted),
        )

    async def _heard(self, address: str, replica: _Replica, answer: fleet_pb2.SyncResponse) -> None:
        before = _differing(replica, self._wanted or {})
        replica.answer = answer
        replica.states = {each.pool.name: each for each in answer.pools}
        self._held[address] = _held(answer)
        if answer.version == replica.sent:
            replica.confirmed, replica.asked = max(replica.confirmed, replica.covers), None
            replica.answered.set()
        if _differing(replica, self._wanted or {}) - before:
            replica.changed.set()  # It was told otherwise, by somebody else.
        self.heard.set()
        self._compare()
        async with self._answered:
            self._answered.notify_all()

    def _compare(self) -> None:
        """Say which pools look different now."""
        for pool in list(self._wanted or ()):
            before, after = self._views.get(pool), self.view(pool)
            if before != after:
                self._on_change(pool, essence(before) != essence(after))


def _wanted(settings: link_pb2.PoolSettings) -> _Wanted:
    return _Wanted(settings, settings_digest(settings))


def _differing(replica: _Replica, wanted: Mapping[str, _Wanted]) -> set[str]:
    """Pools of which the replica does not hold what it should, and those that should not be there."""
    held = {name: state.settings_digest for name, state in replica.states.items()}
    return {name for name in held.keys() | wanted.keys() if name not in wanted or held.get(name) != wanted[name].digest}


def _will_revert(replica: _Replica, pool: str, wanted: _Wanted) -> bool:
    """It holds what it should, by somebody else's word; an older word of ours is still on its way."""
    state = replica.states.get(pool)
    holds = state is not None and state.settings_digest == wanted.digest
    return holds and replica.asked is not None and replica.asked.get(pool) != wanted.digest


def _fitting(names: Iterable[str], wanted: Mapping[str, _Wanted]) -> dict[str, link_pb2.PoolSettings]:
    """The first of them that one request has room for; one in any case."""
    found: dict[str, link_pb2.PoolSettings] = {}
    size = 0
    for name in names:
        settings = wanted[name].settings
        size += settings.ByteSize()
        if found and size > REQUEST_BYTES:
            break
        found[name] = settings
    return found


def _held(answer: fleet_pb2.SyncResponse) -> dict[str, Held]:
    held = {each.pool.name: Held(each.pool.generation, each.settings_digest) for each in answer.pools}
    for name, why in answer.refused.items():
        there = held.get(name, Held(0, b""))
        held[name] = msgspec.structs.replace(there, refused=why)
    return held


def essence(view: FleetView | None) -> object:
    """The view without what changes all the time."""
    if view is None:
        return None
    capsules = {name: _essence(capsule) for name, capsule in view.capsules.items()}
    # A replica that has just been restarted is heard again in a moment: that is no news for every pool.
    return msgspec.structs.replace(view, busy_slots=0, queue_depth=0, sessions=0, message="", unheard=0, capsules=capsules)


def _essence(capsule: CapsuleView) -> CapsuleView:
    return msgspec.structs.replace(capsule, sessions=0, running=0, recycled={})


def _sentence(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or str(error.code())
    return str(error) or f"no answer for {SILENCE_SECONDS:g} s"
