"""Who offers what: the tools of a pool's workers, and those that clients offer to them, for a pool or for one session. Pure.

Workers' tools follow the agents: the pool collects them. Clients' tools are kept here as long as their links.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from snakepit._names import check_tool, nearest
from snakepit._values.strings import quoted
from snakepit.errors import InvalidArguments, PoolNotReady, ToolNotFound, ToolQuota
from snakepit.v1 import common_pb2
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits

MOST_TOOL_BYTES = 64 * 1024
"""A tool's name, schemas and description."""

RETRY_NOT_KNOWN_SECONDS = 1.0


@dataclass(frozen=True)
class Scope:
    """Whose calls may call a tool: a pool's, or (with `session_id`) one session's, of the subject that offers it and of nobody else."""

    pool: str
    session_id: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return f"session {quoted(self.session_id)} of pool {self.pool}" if self.session_id else f"pool {self.pool}"


class Provider(Protocol):
    """An open link of a client: `client` is the subject, and the name that it gives itself."""

    client: tuple[str, str]


P = TypeVar("P", bound=Provider)


@dataclass(frozen=True)
class Offered(Generic[P]):
    """One tool of a client, and the number of its offer."""

    provider: P
    number: int
    scope: Scope
    tool: common_pb2.Tool


class Catalogue(Generic[P]):
    """The tools that clients offer at this replica."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.offers: dict[P, dict[int, list[Offered[P]]]] = {}
        self._links: dict[tuple[str, str], P] = {}
        self._tools: dict[Scope, dict[str, Offered[P]]] = {}
        self._per_pool: dict[str, int] = {}

    def offer(self, provider: P, number: int, scope: Scope, tools: Sequence[common_pb2.Tool], workers: Collection[str] = ()) -> None:
        """Take an offer in place of the provider's earlier one with that number: all of it or, with an error, none of it.

        `workers`: names that the pool's own tools have. A client that has linked anew takes over what its old link offered.
        Raises InvalidArguments, ToolQuota.
        """
        known = self._links.setdefault(provider.client, provider)
        if known is not provider:
            self.leave(known)
            self._links[provider.client] = provider
        earlier = self._remove(provider, number)
        problem = self._over_quota(provider, scope, len(tools)) or self._problem(scope, tools, workers)
        if problem is None:
            self._add([Offered(provider, number, scope, _marked(tool, scope)) for tool in tools])
            return
        self._add(earlier)
        raise problem

    def withdraw(self, provider: P, number: int) -> None:
        self._remove(provider, number)

    def leave(self, provider: P) -> None:
        """The link has closed: its tools are gone."""
        for number in list(self.offers.get(provider, ())):
            self._remove(provider, number)
        if self._links.get(provider.client) is provider:
            del self._links[provider.client]

    def find(self, scope: Scope, tool: str) -> Offered[P] | None:
        return self._tools.get(scope, {}).get(tool)

    def tools(self, scope: Scope) -> list[common_pb2.Tool]:
        """What is offered in exactly that scope, by name."""
        return [offered.tool for _, offered in sorted(self._tools.get(scope, {}).items())]

    def _problem(self, scope: Scope, tools: Sequence[common_pb2.Tool], workers: Collection[str]) -> InvalidArguments | None:
        taken = self._tools.get(scope, {})
        seen: set[str] = set()
        for tool in tools:
            try:
                check_tool(tool.name)
            except InvalidArguments as error:
                return error
            problem = _clash(tool.name, scope, seen, taken, workers)
            if problem or tool.ByteSize() > MOST_TOOL_BYTES:
                too_large = f"tool {tool.name!r}: schema and description have {tool.ByteSize()} bytes, the most is {MOST_TOOL_BYTES}"
                return InvalidArguments(problem or too_large)
            seen.add(tool.name)
        return None

    def _over_quota(self, provider: P, scope: Scope, more: int) -> ToolQuota | None:
        mine = sum(map(len, self.offers.get(provider, {}).values()))
        if mine + more > (most := self._limits.max_tools_per_client):
            message = f"a client may offer {most} tools (maxToolsPerClient), this one has {mine} and offers {more} more"
            return ToolQuota(message, details={"limit": "maxToolsPerClient", "tools": str(most)})
        there = self._per_pool.get(scope.pool, 0)
        if there + more > (most := self._limits.max_client_tools_per_pool):
            have = f"pool {scope.pool} may have {most} tools of clients (maxClientToolsPerPool), it has {there}"
            return ToolQuota(f"{have}, and {more} more are offered", details={"limit": "maxClientToolsPerPool", "tools": str(most)})
        return None

    def _add(self, offer: Sequence[Offered[P]]) -> None:
        for each in offer:
            self.offers.setdefault(each.provider, {}).setdefault(each.number, []).append(each)
            self._tools.setdefault(each.scope, {})[each.tool.name] = each
            self._count(each.scope.pool, 1)

    def _remove(self, provider: P, number: int) -> list[Offered[P]]:
        offers = self.offers.get(provider, {})
        offer = offers.pop(number, [])
        if not offers:
            self.offers.pop(provider, None)
        for each in offer:
            tools = self._tools[each.scope]
            del tools[each.tool.name]
            if not tools:
                del self._tools[each.scope]
            self._count(each.scope.pool, -1)
        return offer

    def _count(self, pool: str, change: int) -> None:
        self._per_pool[pool] = self._per_pool.get(pool, 0) + change
        if not self._per_pool[pool]:
            del self._per_pool[pool]


def _clash(name: str, scope: Scope, seen: Collection[str], taken: Collection[str], workers: Collection[str]) -> str:
    if name in seen:
        return f"tool {name!r} is twice in this offer: give one another name"
    if name in taken:
        return f"tool {name!r} is offered already for {scope}: give yours another name, or offer it for a session"
    if name in workers:
        return f"the workers of pool {scope.pool} have a tool {name!r} themselves: give yours another name"
    return ""


def _marked(tool: common_pb2.Tool, scope: Scope) -> common_pb2.Tool:
    marked = common_pb2.Tool()
    marked.CopyFrom(tool)
    marked.provider, marked.session_id = common_pb2.PROVIDER_CLIENT, scope.session_id
    return marked


def list_tools(pool: Pool, offered: Catalogue[P], session_id: str = "", subject: str = "") -> list[common_pb2.Tool]:
    """The tools of the pool's workers, then those that clients offer for the pool, then those that the subject offers for the session.

    A name that workers have come to have after a client has offered it is the workers'. Raises PoolNotReady where nobody knows of any.
    """
    own = [_of_workers(tool) for _, tool in sorted(pool.tools.items())]
    scopes = [Scope(pool.name), *([Scope(pool.name, session_id, subject)] if session_id else [])]
    tools = [*own, *(tool for scope in scopes for tool in offered.tools(scope) if tool.name not in pool.tools)]
    if not tools:
        _check_known(pool)
    return tools


def get_tool(pool: Pool, offered: Catalogue[P], name: str) -> common_pb2.Tool:
    """Raises ToolNotFound with the nearest names, and PoolNotReady where nobody knows."""
    tool = pool.tools.get(name)
    if tool is not None:
        return _of_workers(tool)
    found = offered.find(Scope(pool.name), name)
    if found is not None:
        return found.tool
    _check_known(pool)
    names = nearest(name, {*pool.tools, *(each.name for each in offered.tools(Scope(pool.name)))})
    hint = f": did you mean {' or '.join(names)}?" if names else ""
    raise ToolNotFound(f"pool {pool.name} has no tool {quoted(name)}{hint}", details={"nearest": ",".join(names)})


def _check_known(pool: Pool) -> None:
    """That a pool has no tools is known of its workers alone. Raises PoolNotReady."""
    if not pool.tools and not pool.was_ready:
        reason, message = pool.why_none()
        raise PoolNotReady(f"which tools pool {pool.name} has is not known yet: {reason}: {message}", retry_after=RETRY_NOT_KNOWN_SECONDS)


def _of_workers(tool: common_pb2.Tool) -> common_pb2.Tool:
    if tool.provider != common_pb2.PROVIDER_WORKER:
        tool.provider = common_pb2.PROVIDER_WORKER
    return tool
