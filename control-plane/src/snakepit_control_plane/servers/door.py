"""Who calls, and whether it may: asked by every RPC of callers, and by links for each of their pools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import grpc

from snakepit._tasks import Tasks
from snakepit._wire.status import to_frame
from snakepit.errors import Draining, PoolSaturated, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authentication.gate import Metadata
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.shares import Shares
from snakepit_control_plane.policy.impersonation import impersonated, needed, passed_on
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, LOOK_AGAIN_SECONDS, Right
from snakepit_control_plane.servers.rpc import full_name, metadata

MOST_WAITING = 1000
MOST_WAITING_BYTES = 16 * 1024 * 1024
"""Calls of a link that may wait for whether they are allowed, and what they may hold."""

MOST_KNOWN = 8192
"""Pools, and callers of them, that a link knows of to be right."""

Context = grpc.aio.ServicerContext[Any, Any]


class Door:
    """`gate` knows who somebody is, `access` what it may do, `shares` what each has open. `certificates`: clients may show such."""

    def __init__(self, gate: Gate, access: Access, limits: Limits | None = None, *, certificates: bool = False) -> None:
        self.shares = Shares(limits or Limits())
        self._certificates = certificates
        self.gate = gate
        self.access = access

    async def caller(self, context: Context, sent: Metadata | None = None) -> Caller:
        """`sent`: see `rpc.metadata`. Raises Unauthenticated, PermissionDenied, InvalidArguments, ServerUnavailable."""
        sent = metadata(context) if sent is None else sent
        shown = b"".join(context.auth_context().get("x509_pem_cert", ())) if self._certificates else b""
        caller = passed_on(await self.gate.identify(sent, str(context.peer()), shown), sent)
        if caller.bearer is not None:
            await self._check_bearer(caller, caller.bearer)
        return caller

    async def may_call(self, caller: Caller, pool: str, session: str) -> bool:
        """True: it may use others' sessions, too; only asked where there is a session. Raises SnakepitError where it may not call."""
        if caller.bearer is not None:
            await self._check_bearer(caller, caller.bearer)
        await self.access.check(caller, CALL, pool)
        return bool(session and caller.subject) and await self.access.may(caller, CHANGE_SESSION, pool)

    def known_to_call(self, caller: Caller, pool: str, session: str) -> bool | None:
        """As `may_call`, without a wait; None: that must be awaited."""
        if caller.bearer is not None and not self._bearer_known(caller, caller.bearer):
            return None
        called = self.access.known(caller, CALL, pool)
        if called is None or not called.allowed:
            return None
        if not session or not caller.subject:
            return False
        others = self.access.known(caller, CHANGE_SESSION, pool)
        return None if others is None else others.allowed

    async def _check_bearer(self, caller: Caller, bearer: Caller) -> None:
        for right, what in needed(caller):
            await self.access.check(bearer, right, what)

    def _bearer_known(self, caller: Caller, bearer: Caller) -> bool:
        """Is it known that it may pass the caller's identity on?"""
        answers = (self.access.known(bearer, right, what) for right, what in needed(caller))
        return all(each is not None and each.allowed for each in answers)


def whose(bearer: Caller, call: link_pb2.Call) -> Caller:
    """Whose a call off a link is: the link's own, or whose identity it passes on. Raises InvalidArguments."""
    if not bearer.subject or not call.HasField("caller"):
        return bearer
    return impersonated(bearer, call.caller.subject, call.caller.groups)


async def find_pool(door: Door, pools: Pools, context: Context, right: Right, name: str) -> tuple[Pool, Caller]:
    """Who asks is asked for first: what a name is, strangers aren't told. Raises SnakepitError."""
    caller = await door.caller(context)
    pool = pools.find(full_name(name))
    await door.access.check(caller, right, pool.name)
    return pool, caller


def sign(call: link_pb2.Call, caller: Caller) -> None:
    """Write down who calls, in place of whatever is said there."""
    if caller.subject:
        call.caller.CopyFrom(_written(caller.subject, caller.groups))
    elif call.HasField("caller"):
        call.ClearField("caller")


@lru_cache(MOST_KNOWN)
def _written(subject: str, groups: tuple[str, ...]) -> link_pb2.Caller:
    """Made once: writing it costs each call three times as much as copying it."""
    return link_pb2.Caller(subject=subject, groups=groups)


Key = str | tuple[str, str, tuple[str, ...]]
"""A pool, where the call is the link's own; and for whom, where it is somebody else's."""


def _key(who: Caller, pool: str) -> Key:
    return pool if who.bearer is None else (pool, who.subject, who.groups)


class PoolRights:
    """Which pools the calls of one link may go to. `go_on` gets each call that waited for the answer, in order, when it is yes."""

    def __init__(
        self,
        door: Door,
        go_on: Callable[[Caller, link_pb2.Frame, bool], None],
        send: Callable[[link_pb2.Frame], None],
    ) -> None:
        self._door = door
        self._go_on, self._send = go_on, send
        self._allowed: dict[Key, float] = {}
        self._with_sessions: dict[Key, tuple[float, bool]] = {}
        self._waiting: dict[Key, list[link_pb2.Frame]] = {}
        self._bytes = 0
        self._tasks = Tasks()

    def allow(self, who: Caller, pool: str, frame: link_pb2.Frame, now: float) -> bool | None:
        """May the call go on, and use others' sessions? None: not now; it is refused, or goes on later. `pool`: its whole name."""
        key = _key(who, pool)
        if key not in self._waiting and self._allowed.get(key, 0.0) > now:
            if not who.subject or not frame.call.session_id:
                return False
            until, any_session = self._with_sessions.get(key, (0.0, False))
            if until > now:
                return any_session
        session = frame.call.session_id
        known = self._door.known_to_call(who, pool, session) if key not in self._waiting else None
        if known is None:
            self._wait(key, who, pool, frame)
        else:
            self._learn(key, session, known, now)
        return known

    def forget(self) -> None:
        """Look at everything again: the caller may be in other groups now."""
        self._allowed.clear()
        self._with_sessions.clear()

    def cancel(self, id_: int) -> bool:
        """The call is not to go on; False: it isn't one that waits."""
        for waiting in self._waiting.values():
            if found := [each for each in waiting if each.call.id == id_]:
                waiting.remove(found[0])
                return True
        return False

    def finish(self) -> None:
        """What waits is sent away: to another replica."""
        for key in list(self._waiting):
            self._fail(key, Draining("this replica stops: dial another"))

    def closed(self) -> None:
        self._tasks.cancel()
        self._waiting.clear()

    def _wait(self, key: Key, who: Caller, pool: str, frame: link_pb2.Frame) -> None:
        size = frame.ByteSize()
        if sum(map(len, self._waiting.values())) >= MOST_WAITING or self._bytes + size > MOST_WAITING_BYTES:
            self._refuse(frame, PoolSaturated("too many calls of this link wait for whether they are allowed", retry_after=0.5))
            return
        self._bytes += size
        if key not in self._waiting:
            self._tasks.spawn(self._ask(key, who, pool), name="may a link's calls go to a pool?")
        self._waiting.setdefault(key, []).append(frame)

    async def _ask(self, key: Key, who: Caller, pool: str) -> None:
        """Until none waits: those that came meanwhile may be the first with a session."""
        while waiting := self._waiting.get(key):
            session = next((each.call.session_id for each in waiting if each.call.session_id), "")
            try:
                any_session = await self._door.may_call(who, pool, session)
            except SnakepitError as error:
                self._fail(key, error)
                return
            self._learn(key, session, any_session, asyncio.get_running_loop().time())
            if not session and any(each.call.session_id for each in waiting):
                continue
            for frame in self._taken(key):
                self._go_on(who, frame, any_session)
        self._waiting.pop(key, None)

    def _learn(self, key: Key, session: str, any_session: bool, now: float) -> None:
        if len(self._allowed) >= MOST_KNOWN:
            self.forget()
        self._allowed[key] = now + LOOK_AGAIN_SECONDS
        if session:
            self._with_sessions[key] = now + LOOK_AGAIN_SECONDS, any_session

    def _fail(self, key: Key, error: SnakepitError) -> None:
        for frame in self._taken(key):
            self._refuse(frame, error)

    def _taken(self, key: Key) -> list[link_pb2.Frame]:
        waited = self._waiting.pop(key, [])
        self._bytes = sum(each.ByteSize() for waiting in self._waiting.values() for each in waiting)
        return waited

    def _refuse(self, frame: link_pb2.Frame, error: SnakepitError) -> None:
        result = link_pb2.Result(id=frame.call.id, call_id=frame.call.call_id, error=to_frame(error))
        self._send(link_pb2.Frame(result=result))
