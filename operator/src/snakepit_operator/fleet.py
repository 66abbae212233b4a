"""All control-plane replicas together: they are told pools' settings and drains, and what they say of pools is one view. No decisions.

The talk with each of them is in `replica`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import grpc
import msgspec

from snakepit._wire.dial import BACKOFF_SECONDS
from snakepit._wire.targets import resolve
from snakepit._wire.token import Token
from snakepit._wire.trust import OFF, Trust
from snakepit.errors import SnakepitError
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2
from snakepit_operator.model import CapsuleView, FleetView
from snakepit_operator.replica import SILENCE_SECONDS, Call, Drains, Replica, Settings, Wanted
from snakepit_operator.views import fleet_view

RESOLVE_SECONDS = 5.0

log = logging.getLogger(__name__)

OnChange = Callable[[str, bool], None]
"""`(pool, essential)`: the view of a pool changed; not essential: only in its counts."""

IsShort = Callable[[str, FleetView], bool]
"""`(pool, view)`: the pool needs more capsules than it should have by what was decided last."""

Connect = Callable[[str, str], AbstractAsyncContextManager[Call]]
"""`(address, host)`: the address, and the name that it was looked up for."""


class _Said(NamedTuple):
    """What replicas have said of a pool last, and the view that it makes."""

    states: Mapping[str, fleet_pb2.PoolState]
    stores: Sequence[tuple[bool, str]]
    view: FleetView


class Fleet:
    """All replicas behind `target`. `view` is None while none of them answers."""

    def __init__(
        self,
        target: str,
        on_change: OnChange,
        token: Token | None = None,
        connect: Connect | None = None,
        is_short: IsShort = lambda _pool, _view: False,
        look_up: Callable[[str], Awaitable[dict[str, str]]] = resolve,
        trust: Trust | None = None,
    ) -> None:
        self._target = target
        self._token = token or Token()
        self._trust = trust or Trust(OFF)
        self._on_change = on_change
        self._is_short = is_short
        self._connect = connect or self._dial
        self._look_up = look_up
        self._wanted = Wanted()
        self._replicas: dict[str, Replica] = {}
        self._heard_last: dict[str, Replica] = {}
        """By address, the talk that had an answer last, also when it has ended: the replica may serve by that still."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._views: dict[str, FleetView | None] = {}
        self._said: dict[str, _Said] = {}
        self._answered = asyncio.Condition()
        self.heard = asyncio.Event()
        """Set when the first replica has answered."""

    async def run(self) -> None:
        """Follow the replicas of the target and talk with each, until cancelled."""
        try:
            while True:
                self._follow(await self._look_up(self._target))
                await asyncio.sleep(RESOLVE_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    # ---- what replicas should hold

    @property
    def pools(self) -> Set[str] | None:
        """What replicas should hold, by name; None: `set_pools` has not said yet."""
        return None if self._wanted.pools is None else self._wanted.pools.keys()

    def set_pools(self, pools: Iterable[link_pb2.PoolSettings]) -> None:
        """All pools there are: until the first time nothing is sent, for a replica drops what isn't listed."""
        new = {each.pool: Settings.of(each) for each in pools}
        if new != self._wanted.pools:
            self._wanted.pools = new
            self._wanted.drains = {pool: drains for pool, drains in self._wanted.drains.items() if pool in new}
            self._tell()

    def put(self, settings: link_pb2.PoolSettings, drains: Iterable[str], evicted: Iterable[str] = (), held: Iterable[str] = ()) -> bool:
        """One pool's settings, its capsules that should end, those of them that somebody else deletes, and those that get no new calls.

        Capsules by the uids of their pods. False: nothing is new about its settings.
        """
        pools, wanted = self._wanted.pools, Settings.of(settings)
        drained = Drains(frozenset(drains), frozenset(evicted), frozenset(held))
        if pools is None:
            return False
        is_new = pools.get(settings.pool) != wanted
        if is_new or self._wanted.drains.get(settings.pool, Drains()) != drained:
            pools[settings.pool] = wanted
            self._wanted.drains[settings.pool] = drained
            self._tell()
        return is_new

    def forget(self, pool: str) -> None:
        """The pool is gone."""
        self._views.pop(pool, None)
        self._said.pop(pool, None)
        self._wanted.drains.pop(pool, None)
        if self._wanted.pools and self._wanted.pools.pop(pool, None) is not None:
            self._tell()

    def _tell(self) -> None:
        self._wanted.version += 1
        for replica in self._replicas.values():
            replica.changed.set()

    async def flushed(self, timeout: float) -> bool:
        """Wait until every replica has confirmed all that was told so far; False: not within `timeout`."""
        version = self._wanted.version
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._answered:
                await self._answered.wait_for(lambda: self._is_confirmed(version))
                return True
        return False

    def _is_confirmed(self, version: int) -> bool:
        return all((replica := self._replicas.get(each)) and replica.confirmed >= version for each in self._tasks)

    # ---- what they hold

    def view(self, pool: str) -> FleetView | None:
        """The pool as all answering replicas together see it."""
        answering = {address: each for address, each in self._replicas.items() if each.answer is not None}
        view = msgspec.structs.replace(self._seen(pool, answering), **self._standing(pool)) if answering else None
        self._views[pool] = view
        return view

    def _seen(self, pool: str, answering: Mapping[str, Replica]) -> FleetView:
        """What they say of the pool; the same as before for as long as nobody has said it anew."""
        answers = [each.answer for each in answering.values() if each.answer is not None]
        knowing = {address: each for address, each in answering.items() if pool in each.states}
        stores = [(each.session_store_ready, each.session_store_message) for each in answers]
        states = {address: each.states[pool] for address, each in knowing.items()}
        before = self._said.get(pool)
        if before is None or before.stores != stores or not _same(before.states, states):
            view = fleet_view(states, answers, [each.capsules[pool] for each in knowing.values()])
            before = self._said[pool] = _Said(states, stores, view)
        return before.view

    def _standing(self, pool: str) -> dict[str, Any]:
        """What replicas say that they hold of the pool's settings, compared with what they should."""
        wanted = self._wanted.pools.get(pool) if self._wanted.pools else None
        heard = [self._heard_last[each] for each in self._tasks if each in self._heard_last]
        behind = [each for each in heard if not each.holds(pool, wanted)]
        held = [each.states[pool].pool.generation for each in heard if pool in each.states]
        refusals = [each.answer.refused[pool] for each in behind if each.answer is not None and pool in each.answer.refused]
        answering = sum(1 for each in self._replicas.values() if each.answer is not None)
        return {
            "unheard": len(self._tasks) - answering,
            "behind": len(behind),
            "held_generation": min(held) if held and len(held) == len(heard) else None,
            "refused": next(iter(refusals), ""),
        }

    def _compare(self, names: Collection[str] | None = None) -> None:
        """Say which pools look different now, all or of those named."""
        wanted = self._wanted.pools or {}
        for pool in list(wanted) if names is None else [each for each in names if each in wanted]:
            before, after = self._views.get(pool), self.view(pool)
            if after is not None and self._is_short(pool, after):
                self._on_change(pool, True)
            elif _counts(before) != _counts(after):
                self._on_change(pool, essence(before) != essence(after))

    # ---- talks

    def _follow(self, addresses: Mapping[str, str]) -> None:
        for address in sorted(addresses.keys() - self._tasks.keys()):
            self._tasks[address] = asyncio.create_task(self._talk_forever(address, addresses[address]), name=f"sync {address}")
        if not addresses:
            return  # a name that can't be looked up says nothing about the replicas that answer
        for address in sorted(self._tasks.keys() - addresses.keys()):
            self._tasks.pop(address).cancel()
            self._heard_last.pop(address, None)

    async def _talk_forever(self, address: str, host: str) -> None:
        attempt = 0
        while (task := asyncio.current_task()) is not None and not task.cancelling():
            replica = self._replicas[address] = Replica(self._wanted)
            try:
                await self._talk(address, host, replica)
            # grpcio raises InvalidStateError for a write to a stream that has just ended.
            except (grpc.RpcError, TimeoutError, asyncio.InvalidStateError, SnakepitError) as error:
                log.log(logging.DEBUG if attempt else logging.WARNING, "no sync with %s: %s", address, _sentence(error))
            except Exception:  # Nobody else would ever talk to that address.
                log.exception("the talk with %s went wrong", address)
            attempt = 0 if replica.answer is not None else attempt + 1
            await asyncio.sleep(BACKOFF_SECONDS.jittered(attempt + 1, random.random))

    async def _talk(self, address: str, host: str, replica: Replica) -> None:
        try:
            async with self._connect(address, host) as call:
                await replica.talk(call, lambda: self._heard(address, replica))
        finally:
            if self._replicas.get(address) is replica:
                del self._replicas[address]
            self._compare()

    @asynccontextmanager
    async def _dial(self, address: str, host: str) -> AsyncIterator[Call]:
        async with self._trust.channel(address, host) as channel:
            call = fleet_pb2_grpc.FleetServiceStub(channel).Sync(metadata=self._token.metadata() or None)
            try:
                yield call
            except grpc.RpcError as error:
                explained = await self._trust.explain(error, address, host)
                raise explained or error from None
            finally:
                call.cancel()

    async def _heard(self, address: str, replica: Replica) -> None:
        self._heard_last[address] = replica
        self.heard.set()
        answer = replica.answer
        self._compare(None if answer is None or not answer.partial else [each.pool.name for each in answer.pools])
        async with self._answered:
            self._answered.notify_all()


def _same(before: Mapping[str, object], after: Mapping[str, object]) -> bool:
    """The very same objects, by the same names."""
    return [(name, id(each)) for name, each in before.items()] == [(name, id(each)) for name, each in after.items()]


def _counts(view: FleetView | None) -> FleetView | None:
    """The view without what changes with every second that passes."""
    return None if view is None else msgspec.structs.replace(view, demand=None)


def essence(view: FleetView | None) -> object:
    """The view without what changes all the time."""
    if view is None:
        return None
    capsules = {name: _essence(capsule) for name, capsule in view.capsules.items()}
    # A replica that has just been restarted is heard again in a moment: that is no change for every pool.
    return msgspec.structs.replace(
        view, busy_slots=0, queue_depth=0, sessions=0, message="", unheard=0, capsules=capsules, demand=None, ended={}, slo=None
    )


def _essence(capsule: CapsuleView) -> CapsuleView:
    return msgspec.structs.replace(capsule, sessions=0, running=0, recycled={}, draining=False)


def _sentence(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or str(error.code())
    return str(error) or f"no answer for {SILENCE_SECONDS:g} s"
