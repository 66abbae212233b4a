"""The way in: `async with snakepit.Client(...) as client`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import ClassVar, Self, Unpack

from snakepit._names import parse_pool, pool_name
from snakepit._telemetry import tracing
from snakepit._values.strings import check
from snakepit._wire.dial import Lanes
from snakepit._wire.token import check_token, default_file
from snakepit._wire.trust import Trust
from snakepit.client import views
from snakepit.client.call_lists import CallFilters, find_call, list_calls
from snakepit.client.connection import Connection
from snakepit.client.offers import Functions, Offer, Offers
from snakepit.client.peers import Peers
from snakepit.client.pool import Pool
from snakepit.client.requests import Encoding
from snakepit.client.serving import Serving
from snakepit.client.session import Session
from snakepit.errors import InvalidArguments, SnakepitError, Started
from snakepit.v1 import access_pb2, link_pb2, pool_pb2, replica_pb2

DEFAULT_SERVER = "localhost:7800"


class Pools:
    """The pools behind a connection."""

    @property
    def _connection(self) -> Connection:
        """Raises SnakepitError where it is not open."""
        raise NotImplementedError

    def pool(self, name: str, *, payload: Encoding = "json", attachments: bool = False) -> Pool:
        """A handle on the pool `namespace/name`; a bare name means namespace `default`.

        `payload`: how the arguments of its calls are encoded, and their results: json, msgpack or, where the pool's call.payloads has
        it, pickle. Unpickling runs code of the other side's choice: only where you trust the pool's authors as they trust you.
        `attachments`: in results of JSON, bytes, arrays and tables stay `snakepit.Attachment`s, with their content types: for programs
        that pass them on.
        """
        return Pool(self._connection, name, payload, attachments=attachments)

    async def pools(self) -> list[views.PoolInfo]:
        """Every pool that the control plane knows, and that the caller may see, by name."""
        request = pool_pb2.ListPoolsRequest()
        reply = await self._connection.ask(request, pool_pb2.ListPoolsResponse)
        return [views.pool_info(pool) for pool in reply.pools]

    async def calls(self, *, limit: int = 100, **filters: Unpack[CallFilters]) -> views.CallList:
        """As `Pool.calls`, of every pool: of each, those calls that the caller may see. Raises InvalidArguments."""
        return await list_calls(self._connection, "", limit, **filters)

    async def call_info(self, call_id: str) -> views.CallInfo:
        """As `Pool.call_info`, of whichever pool. Raises CallNotFound."""
        return await find_call(self._connection, "", call_id)

    async def whoami(self) -> views.CallerInfo:
        """Who the control plane takes the caller for. Raises Unauthenticated."""
        return views.caller_info(await self._connection.ask(access_pb2.WhoAmIRequest(), access_pb2.WhoAmIResponse))

    async def replicas(self) -> views.ReplicaList:
        """What each replica of the control plane says of itself: version, clock, store. Raises Unauthenticated."""
        request = replica_pb2.GetReplicaRequest()
        return views.replica_list(*await self._connection.ask_all(request, replica_pb2.GetReplicaResponse))


class AsCaller(Pools):
    """A client's pools for calls that are somebody else's; see `Client.as_caller`."""

    def __init__(self, opened: Callable[[], Connection], caller: link_pb2.Caller) -> None:
        self._opened, self._caller = opened, caller

    def __repr__(self) -> str:
        return f"AsCaller({self._caller.subject!r})" if self._caller.subject else "AsCaller(token=...)"

    @property
    def _connection(self) -> Connection:
        return self._opened().as_caller(self._caller)


class Client(Pools):
    """Links to every control-plane replica behind `server` and spreads calls over them.

    One client serves a whole program; it belongs to one event loop.

    `server` is host:port, dns:///host:port for all addresses of a name, or several of these with commas between; default
    SNAKEPIT_SERVER, else localhost:7800.

    `token_file` (default SNAKEPIT_TOKEN_FILE, else the token that is mounted into a caller's pod) holds a bearer token and is read
    again whenever it is needed. `connect_timeout` in seconds bounds every wait for an open link.

    `lanes` False, or SNAKEPIT_LANES=off: everything travels over the one address, as through a port-forward, where each lane would be
    tried in vain; then no payload is larger than maxPayloadBytes.

    `ca_file` (default SNAKEPIT_CA_FILE, else the one that is mounted into a caller's pod) has the certificates of the CAs that may
    speak for the control plane: with it all travels through TLS, without one, or with "off", it doesn't. `tls_server_name` (default
    SNAKEPIT_TLS_SERVER_NAME, else the host of `server`) is whom its certificate must name.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        token_file: str | os.PathLike[str] | None = None,
        connect_timeout: float = 5.0,
        lanes: bool | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        tls_server_name: str | None = None,
    ) -> None:
        if server is not None and not isinstance(server, str):
            raise InvalidArguments(f"server {server!r} is not an address: write 'host:port', e.g. 'localhost:7800'")
        self.server = server or os.environ.get("SNAKEPIT_SERVER") or DEFAULT_SERVER
        self._token_file = token_file or default_file()
        self._connect_timeout = connect_timeout
        self._lanes = os.environ.get("SNAKEPIT_LANES") != "off" if lanes is None else lanes
        self._trust = Trust(ca_file, tls_server_name)
        self._open: Connection | None = None
        self._offers: Offers | None = None

    _OPENED_BY: ClassVar[str] = "async with snakepit.Client(...) as client"

    def __repr__(self) -> str:
        return f"Client({self.server!r}{'' if self._open is not None else ', not open'})"

    async def __aenter__(self) -> Self:
        if self._open is not None:
            raise SnakepitError(f"this client is open already: make one for each `{self._OPENED_BY}`", started=Started.NO)
        tracing.configure("snakepit-client", adopt=True)
        lanes = Lanes.WANTED if self._lanes else Lanes.OFF
        peers = Peers(self.server, token_file=self._token_file, connect_seconds=self._connect_timeout, lanes=lanes, trust=self._trust)
        peers.start()
        self._open = Connection(peers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every link; calls that still wait fail with REPLICA_LOST. Idempotent; in a forked child it leaves the parent's alone."""
        connection = self._open
        if connection is None or connection.peers.is_forked:
            return
        connection.peers.check_loop()
        self._open = None
        await connection.stop()

    def as_caller(self, subject: str = "", groups: Sequence[str] = (), *, token: str = "") -> AsCaller:
        """The same pools and links, for calls of one of your own callers: for gateways. It costs nothing to make one for each request.

        Rights, sessions, turns, idempotency keys and `ctx.caller` are then theirs, and the audit log names both. `token`: the one that
        they have shown you. The control plane checks it, and you need no right. Without theirs, name them, with their groups: then your
        own subject needs the verb `impersonate` on that user and on the groups, as at the API server.

        Raises InvalidArguments, and Unauthenticated for what can't be a token.
        """
        if token:
            if subject or groups:
                raise InvalidArguments("as_caller: give a token, or a subject and groups, and not both")
            caller = link_pb2.Caller(token=check_token(token))
        else:
            if not isinstance(subject, str) or not subject:
                raise InvalidArguments(f"as_caller: subject {subject!r} must be the name of whose calls these are")
            if isinstance(groups, str) or not all(isinstance(each, str) for each in groups):
                raise InvalidArguments(f"as_caller: groups {groups!r} must be a list of names")
            caller = link_pb2.Caller(subject=check("as_caller: subject", subject), groups=groups)
        return AsCaller(lambda: self._connection, caller)

    def offer(self, functions: Functions, *, pool: str | Pool | None = None, session: Session | None = None) -> Offer:
        """Tools that workers may call with `ctx.call_tool`, inside `async with client.offer(...)`: for a pool, or for one session.

        `functions`: one or several, sync (run in threads), async, or generators; name, schema and description come from the function,
        or from `@tool`. All are registered, at every replica, or none: entering raises InvalidArguments where a name is taken.
        """
        if (pool is None) == (session is None):
            raise InvalidArguments("say for whom the tools are: give pool= or session=, and not both")
        name = session.pool if session is not None else pool.name if isinstance(pool, Pool) else str(pool)
        peers = self._connection.peers
        if self._offers is None or peers.serves is None:
            self._offers = Offers(peers)
            peers.serves = Serving(self._offers)
        return Offer(self._offers, functions, pool_name(*parse_pool(name)), session.id if session is not None else "")

    @property
    def links(self) -> int:
        """How many replicas a call may go to now. 0: the next one waits for a link, `connect_timeout` at most."""
        return len(self._connection.peers.usable)

    @property
    def lanes(self) -> int:
        """How many of the links have lanes. Those without are slower, and take no payload above maxPayloadBytes."""
        return sum(each.replica.bulk is not None for each in self._connection.peers.usable)

    @property
    def _connection(self) -> Connection:
        if self._open is None:
            raise SnakepitError(f"the client is not open: use it inside `{self._OPENED_BY}`", started=Started.NO)
        self._open.peers.check_process()
        return self._open
