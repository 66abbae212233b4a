"""The operator's talk with every control-plane replica: settings and drains go out, the fleet's state comes back. It decides nothing.

What goes out is level-triggered: a replica that links anew is told everything. What came back is forgotten when its replica falls silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable

import grpc
import msgspec

from snakepit.errors import SnakepitError
from snakepit.link.channels import client_options
from snakepit.link.dial import backoff, resolve
from snakepit.link.link import EOF
from snakepit.link.token import Token
from snakepit.v1 import fleet_pb2, fleet_pb2_grpc, link_pb2
from snakepit_operator.model import CapsuleView, FleetView
from snakepit_operator.views import fleet_view

RESOLVE_SECONDS = 5.0
REFRESH_SECONDS = 5.0
"""A request goes out at least this often, and each is answered."""
SILENCE_SECONDS = 15.0

log = logging.getLogger(__name__)

OnChange = Callable[[str, bool], None]
"""`(pool, essential)`: the view of a pool changed; not essential: only in its counts."""


class _Drains(msgspec.Struct, frozen=True):
    """Of one pool: capsules that should take no new calls, and those of them that somebody else deletes."""

    names: frozenset[str] = frozenset()
    evicted: frozenset[str] = frozenset()


class _Replica:
    def __init__(self) -> None:
        self.answer: fleet_pb2.SyncResponse | None = None
        self.sent: dict[str, link_pb2.PoolSettings] | None = None
        self.sent_version = -1
        self.answered_version = -1
        self.changed = asyncio.Event()


class Fleet:
    """All replicas behind `target`. `view` is None while none of them answers."""

    def __init__(self, target: str, on_change: OnChange, token: Token | None = None) -> None:
        self._target = target
        self._token = token or Token()
        self._on_change = on_change
        self._pools: dict[str, link_pb2.PoolSettings] | None = None
        self._drains: dict[str, _Drains] = {}
        self._version = 0
        self._replicas: dict[str, _Replica] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._views: dict[str, FleetView | None] = {}
        self._answered = asyncio.Condition()
        self.heard = asyncio.Event()
        """Set when the first replica has answered."""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._follow(await resolve(self._target))
                await asyncio.sleep(RESOLVE_SECONDS)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def set_pools(self, pools: Iterable[link_pb2.PoolSettings]) -> None:
        """All pools there are: until the first time nothing is sent, for a replica drops what isn't listed."""
        new = {each.pool: each for each in pools}
        if new != self._pools:
            self._pools = new
            self._drains = {pool: drains for pool, drains in self._drains.items() if pool in new}
            self._tell()

    def put(self, settings: link_pb2.PoolSettings, drains: Iterable[str], evicted: Iterable[str] = ()) -> None:
        """One pool's settings, its capsules that should take no new calls, and those of them that somebody else deletes."""
        new = _Drains(frozenset(drains), frozenset(evicted))
        if self._pools is None or (self._pools.get(settings.pool) == settings and self._drains.get(settings.pool, _Drains()) == new):
            return
        self._pools[settings.pool] = settings
        self._drains[settings.pool] = new
        self._tell()

    def forget(self, pool: str) -> None:
        """The pool is gone."""
        self._views.pop(pool, None)
        self._drains.pop(pool, None)
        if self._pools and self._pools.pop(pool, None) is not None:
            self._tell()

    def view(self, pool: str) -> FleetView | None:
        """The pool as all answering replicas together see it."""
        answers = [each.answer for each in self._replicas.values() if each.answer is not None]
        view = fleet_view(pool, answers) if answers else None
        self._views[pool] = view
        return view

    async def flushed(self, timeout: float) -> bool:
        """Wait until every linked replica has answered a request that holds all that was told so far; False: not within `timeout`."""
        version = self._version
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._answered:
                await self._answered.wait_for(lambda: all(r.answered_version >= version for r in self._replicas.values() if r.answer))
                return True
        return False

    def _tell(self) -> None:
        self._version += 1
        for replica in self._replicas.values():
            replica.changed.set()

    def _follow(self, addresses: set[str]) -> None:
        for address in addresses - self._tasks.keys():
            self._tasks[address] = asyncio.create_task(self._talk_forever(address), name=f"sync {address}")
        if not addresses:
            return  # a name that can't be looked up says nothing about the replicas that answer
        for address in self._tasks.keys() - addresses:
            self._tasks.pop(address).cancel()

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
                self._replicas.pop(address, None)
                self._compare()
            attempt = 0 if heard else attempt + 1
            await asyncio.sleep(backoff(attempt))

    async def _talk(self, address: str, replica: _Replica) -> None:
        async with grpc.aio.insecure_channel(address, options=client_options()) as channel:
            call = fleet_pb2_grpc.FleetServiceStub(channel).Sync(metadata=self._token.metadata() or None)
            sender = asyncio.create_task(self._send(call, replica), name=f"sync to {address}")
            try:
                while True:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        answer = await call.read()
                    if answer is EOF:
                        return
                    await self._heard(replica, answer)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
                call.cancel()

    async def _send(self, call: grpc.aio.StreamStreamCall[fleet_pb2.SyncRequest, fleet_pb2.SyncResponse], replica: _Replica) -> None:
        while True:
            replica.changed.clear()
            if self._pools is not None:
                version = self._version
                await call.write(self._request(replica))
                replica.sent, replica.sent_version = dict(self._pools), version
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS if self._pools is not None else 0.2):
                    await replica.changed.wait()

    def _request(self, replica: _Replica) -> fleet_pb2.SyncRequest:
        pools = self._pools or {}
        request = fleet_pb2.SyncRequest(
            complete=replica.sent is None,
            drain_capsules=sorted(name for drains in self._drains.values() for name in drains.names),
            evicted_capsules=sorted(name for drains in self._drains.values() for name in drains.evicted),
        )
        if replica.sent is None:
            request.pools.extend(pools.values())
        else:
            request.pools.extend(each for name, each in pools.items() if replica.sent.get(name) != each)
            request.pools.extend(_tombstone(each) for name, each in replica.sent.items() if name not in pools)
        return request

    async def _heard(self, replica: _Replica, answer: fleet_pb2.SyncResponse) -> None:
        replica.answer = answer
        replica.answered_version = replica.sent_version
        self.heard.set()
        self._compare()
        async with self._answered:
            self._answered.notify_all()

    def _compare(self) -> None:
        """Say which pools look different now."""
        for pool in list(self._pools or ()):
            before, after = self._views.get(pool), self.view(pool)
            if before != after:
                self._on_change(pool, essence(before) != essence(after))


def essence(view: FleetView | None) -> object:
    """The view without what changes all the time."""
    if view is None:
        return None
    capsules = {name: _essence(capsule) for name, capsule in view.capsules.items()}
    return msgspec.structs.replace(view, busy_slots=0, queue_depth=0, sessions=0, message="", capsules=capsules)


def _essence(capsule: CapsuleView) -> CapsuleView:
    return msgspec.structs.replace(capsule, sessions=0, running=0, recycled={})


def _tombstone(settings: link_pb2.PoolSettings) -> link_pb2.PoolSettings:
    return link_pb2.PoolSettings(pool=settings.pool, uid=settings.uid, generation=settings.generation, deleted=True)


def _sentence(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.details() or str(error.code())
    return str(error) or f"no answer for {SILENCE_SECONDS:g} s"
