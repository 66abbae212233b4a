"""Who calls, and whether it may: asked by every RPC of callers, and by links for each of their pools."""

from __future__ import annotations

from typing import Any

import grpc

from snakepit.errors import InvalidArguments
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authentication.gate import Metadata, with_bearer
from snakepit_control_plane.authorization import Access
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.model.shares import Shares
from snakepit_control_plane.policy.impersonation import impersonated, needed, passed_on, with_token
from snakepit_control_plane.policy.rights import CALL, CHANGE_SESSION, Right
from snakepit_control_plane.servers.connections import Shown, nobody_counts
from snakepit_control_plane.servers.rpc import full_name, metadata

Context = grpc.aio.ServicerContext[Any, Any]


class Door:
    """`gate` knows who somebody is, `access` what it may do, `shares` what each has open. `certificates`: clients may show such."""

    def __init__(self, gate: Gate, access: Access, limits: Limits | None = None, *, certificates: bool = False) -> None:
        self.shares = Shares(limits or Limits())
        self._certificates = certificates
        self.gate = gate
        self.access = access
        self.shown: Shown = nobody_counts
        """See `Connections.shows`."""

    async def caller(self, context: Context, sent: Metadata | None = None, peer: str = "") -> Caller:
        """`sent`: see `rpc.metadata`; `peer`: the context's. Raises Unauthenticated, PermissionDenied, InvalidArguments,
        ServerUnavailable."""
        sent = metadata(context) if sent is None else sent
        shown = b"".join(context.auth_context().get("x509_pem_cert", ())) if self._certificates else b""
        peer = peer or str(context.peer())
        caller = passed_on(await self.gate.identify(sent, peer, shown), sent)
        self.shown(peer, caller.sender)
        if caller.bearer is not None:
            await self._check_bearer(caller, caller.bearer)
        return caller

    def known(self, bearer: Caller, call: link_pb2.Call) -> Caller | None:
        """Whose a call off a link is: the link's own, or somebody's who is passed on. None: await `whose`. Raises SnakepitError."""
        if not bearer.subject or not call.HasField("caller"):
            return bearer
        said = call.caller
        if not said.token:
            return impersonated(bearer, said.subject, said.groups)
        if said.subject or said.groups:
            raise InvalidArguments("a call is passed on with a token and with a name: give either")
        shown = self.gate.known(said.token)
        return None if shown is None else with_token(bearer, shown)

    async def whose(self, bearer: Caller, call: link_pb2.Call) -> Caller:
        """As `known`; Unauthenticated, say, for a token."""
        if (found := self.known(bearer, call)) is not None:
            return found
        return with_token(bearer, await self.gate.identify(with_bearer(call.caller.token), bearer.name))

    async def may_call(self, caller: Caller, pool: str, session: str) -> bool:
        """True: it may use others' sessions, too; only asked where there is a session. Raises SnakepitError where it may not call."""
        if caller.bearer is not None:
            await self._check_bearer(caller, caller.bearer)
        await self.access.check(caller, CALL, pool)
        return bool(session and caller.subject) and await self.access.may(caller, CHANGE_SESSION, pool)

    def known_to_call(self, caller: Caller, pool: str, session: str) -> bool | None:
        """As `may_call`, without a wait; None: that must be awaited."""
        if caller.bearer is not None and not self.bearer_known(caller, caller.bearer):
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

    def bearer_known(self, caller: Caller, bearer: Caller) -> bool:
        """Is it known that it may pass the caller's identity on?"""
        answers = (self.access.known(bearer, right, what) for right, what in needed(caller))
        return all(each is not None and each.allowed for each in answers)


async def find_pool(door: Door, pools: Pools, context: Context, right: Right, name: str) -> tuple[Pool, Caller]:
    """Who asks is asked for first: what a name is, strangers aren't told. Raises SnakepitError."""
    caller = await door.caller(context)
    pool = pools.find(full_name(name))
    await door.access.check(caller, right, pool.name)
    return pool, caller
