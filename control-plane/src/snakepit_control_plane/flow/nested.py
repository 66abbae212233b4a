"""Calls that running tools make: whom a name means, and what the call takes over from the one that it is made in.

An agent asks (`servers/asking`); the answer comes from a worker, through the intake, or from a client (`servers/offers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from snakepit._names import nearest
from snakepit._values.strings import quoted
from snakepit.errors import SnakepitError, ToolNotFound
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.catalogue import Catalogue, Offered, Scope
from snakepit_control_plane.model.nesting import Nest, nest_of
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.admission import bad_timeout
from snakepit_control_plane.policy.nesting import too_deep

_DECIDED_HERE = (
    "session_id",
    "affinity",
    "idempotency_key",
    "metadata",
    "accept",
    "parent_call_id",
    "turn",
    "progress",
    "caller",
    "identity",
)
"""Fields of a nested call that follow from the call around it, whatever an agent says."""


Answer = Callable[[link_pb2.Result], None]
Chunk = Callable[[common_pb2.Payload], None]
"""The worker's end of a nested call."""


class ClientCall(Protocol):
    """A nested call that a client runs, and that has not been answered. `subject`: whose; `until`: its deadline, of the loop's clock."""

    subject: str
    nest: Nest
    until: float

    def cancel(self) -> None: ...
    def taken(self, chunks: int) -> None: ...


class ToolProvider(Protocol):
    """A client's link as the place where tools are run. `client`: its subject and its id, the same on all of its links."""

    client: tuple[str, str]

    def run(self, call: link_pb2.Call, target: Target, answer: Answer, chunk: Chunk) -> ClientCall: ...


@dataclass(frozen=True)
class Target:
    """Who runs a nested call: the pool's workers, or (`offered`) a client. `until`: its deadline, of the loop's clock."""

    pool: Pool
    nest: Nest
    until: float
    offered: Offered[ToolProvider] | None = None


class NestedCalls:
    """One for each replica. `client_calls`: those that clients run, by call_id."""

    def __init__(self, pools: Pools, calls: OpenCalls, limits: Limits) -> None:
        self._pools = pools
        self._calls = calls
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self.catalogue: Catalogue[ToolProvider] = Catalogue(limits)
        self.client_calls: dict[str, ClientCall] = {}

    def resolve(self, parent: Call, call: link_pb2.Call) -> Target:
        """Whom `call` is for, made by the tool of `parent`; the frame is completed with what it takes over.

        A name that the pool's workers have is theirs. Any other is looked for in what clients offer: for the session, then for the pool.
        Raises CallTooDeep, InvalidArguments, PoolNotFound, ToolNotFound.
        """
        if not call.timeout_seconds >= 0:
            raise bad_timeout(call.timeout_seconds)
        around = nest_of(parent)
        refusal = too_deep(around, call.tool, self._limits.max_nesting_depth)
        if refusal is not None:
            raise refusal
        nest = Nest(around)
        pool = self._pools.find(call.pool or parent.pool_name)
        session = nest.session()
        found = self._offered(session, call, pool)
        if found is not None:
            _take_over(parent, call, nest)
            # A session of another pool may have the name of one that its client serves in this pool.
            call.pool, call.session_id = found.scope.pool, session[1] if session[0] == found.scope.pool else ""
            return Target(pool, nest, self._deadline(parent, call, pool, found.tool), found)
        if pool.tools and call.tool not in pool.tools:
            raise self._unknown(parent.tool, pool, session, call.tool)
        _take_over(parent, call, nest)
        call.pool = pool.name
        if session[0] == pool.name:
            _join_session(parent, call, nest, session[:2])
        return Target(pool, nest, self._deadline(parent, call, pool, pool.tools.get(call.tool)))

    def adopt(self, call: Call) -> SnakepitError | None:
        """A client calls out of a tool of its own, which a worker's call waits for: it is nested in that one. Returns its refusal."""
        message = call.message
        asked = self.client_calls.get(message.parent_call_id)
        message.parent_call_id = ""
        if asked is None or asked.subject != call.request.who.sender:
            return None
        if (refusal := too_deep(asked.nest, call.tool, self._limits.max_nesting_depth)) is not None:
            return refusal
        call.nest = Nest(asked.nest, call)
        call.nest.by_client = True
        message.depth = call.nest.depth
        left = max(0.001, asked.until - self._clock())
        message.timeout_seconds = min(left, message.timeout_seconds or left)
        call.deadline = min(call.deadline, asked.until)
        pool = self._pools.get(call.request.pool)
        if message.session_id and pool is not None:
            _within_turn(message, call.nest, (pool.name, message.session_id))
        call.nest.keep(partial(self._calls.cancel, call))
        return None

    def _offered(self, session: tuple[str, str, str], call: link_pb2.Call, pool: Pool) -> Offered[ToolProvider] | None:
        if call.tool in pool.tools:
            return None
        scopes = [Scope(pool.name)]
        if session[1] and call.pool in ("", session[0]):
            scopes.insert(0, Scope(*session))
        return next((found for scope in scopes if (found := self.catalogue.find(scope, call.tool)) is not None), None)

    def _unknown(self, asker: str, pool: Pool, session: tuple[str, str, str], name: str) -> ToolNotFound:
        known = {*pool.tools, *(each.name for scope in (Scope(pool.name), Scope(*session)) for each in self.catalogue.tools(scope))}
        names = nearest(name, known)
        hint = f": did you mean {' or '.join(names)}?" if names else ""
        neither = f"pool {pool.name} has no such tool, and no client offers one for it or for this session"
        message = f"tool {asker!r} calls {quoted(name)}, but {neither}{hint}"
        return ToolNotFound(message, details={"nearest": ",".join(names)})

    def _deadline(self, parent: Call, call: link_pb2.Call, pool: Pool, tool: common_pb2.Tool | None) -> float:
        """Never later than the parent's own."""
        limits = pool.spec.call
        own = tool.timeout_seconds if tool is not None and tool.timeout_seconds > 0 else 0.0
        default = own or (limits.stream_timeout_seconds if call.stream else limits.timeout_seconds)
        return min(parent.deadline, self._clock() + (call.timeout_seconds or default))


def _take_over(parent: Call, call: link_pb2.Call, nest: Nest) -> None:
    """What every nested call has of the one around it."""
    around = parent.message
    for field in _DECIDED_HERE:
        call.ClearField(field)
    call.depth, call.priority = nest.depth, around.priority
    for key, value in around.metadata.items():
        call.metadata[key] = value


def _join_session(parent: Call, call: link_pb2.Call, nest: Nest, session: tuple[str, str]) -> None:
    """Run in the session, within the turn of the call around it that holds the turn."""
    around = parent.message
    call.session_id = session[1]
    if (parent.pool_name, around.session_id) == session:
        call.affinity = around.affinity
    _within_turn(call, nest, session)


def _within_turn(call: link_pb2.Call, nest: Nest, session: tuple[str, str]) -> None:
    """Of the call around it that runs in that session, if one does."""
    call.parent_call_id = nest.turn = nest.holder(*session)
    call.turn = link_pb2.TURN_WITHIN_PARENT if nest.turn else link_pb2.TURN_UNSPECIFIED
