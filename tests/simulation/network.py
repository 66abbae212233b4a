"""Links without sockets: gRPC's bidirectional streams, and the lanes and bulk lanes beside them, as queues whose messages take a random
while, and connections that break.

What arrives, arrives in order. Of what is on its way when a connection breaks, nothing arrives any more, or all of it; and either end
may notice long before the other.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from grpc.aio import EOF  # type: ignore[attr-defined]

from snakepit_control_plane.servers.lanes import Lanes

Serve = Callable[[Any, Any], Awaitable[None]]

TICK = 1e-7
"""Between two messages: they never arrive at the same time, so their order is that of sending."""

WINDOW = 2
"""Messages of a bulk lane that may be on their way, or unread: then writing waits, as TCP's flow control has it."""


def unavailable(why: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), why)


class Aborted(Exception):
    """A servicer has ended its RPC with an error."""


class Half:
    """One direction of a connection."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._loop = network.loop
        self._queue: deque[Any] = deque()
        self._end: Any = None
        self._waiting: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._flying = 0
        self.on_end: Callable[[], None] = lambda: None
        self.last = 0.0
        self.lost = False

    @property
    def ended(self) -> Any:
        """How, if this end knows of it."""
        return self._end

    async def write(self, message: Any, until: Callable[[], object] = lambda: False) -> None:
        """With flow control; gives up when `until()` holds, after a `wake`."""
        while self._flying + len(self._queue) >= WINDOW and not until():
            self._room = self._loop.create_future()
            await self._room
        if not until():
            self._flying += 1
            self.send(message)

    def wake(self) -> None:
        """Look again whether there is room."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def give_up(self, how: BaseException) -> None:
        """This end wants nothing more of it."""
        self._queue.clear()
        self._end = None
        self.end_now(how)

    def send(self, message: Any) -> None:
        if not self.lost:
            self.last = max(self.last + TICK, self._loop.time() + self._network.latency())
            self._loop.call_at(self.last, self._arrive, message)

    def end(self, how: Any) -> None:
        """`how` comes behind everything that was sent: EOF, or an error that reading raises."""
        if self.lost:
            return
        self.last = max(self.last + TICK, self._loop.time() + self._network.latency())
        self._loop.call_at(self.last, self.end_now, how)

    def end_now(self, how: Any) -> None:
        self.lost = True
        if self._end is None:
            self._end = how
            self._wake()
            self.on_end()

    def _arrive(self, message: Any) -> None:
        if not self.lost:
            self._flying = max(0, self._flying - 1)
            self._queue.append(message)
            self._wake()

    @property
    def is_quiet(self) -> bool:
        """Open, and nothing has come that nobody has read."""
        return self._end is None and not self._queue

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def read(self) -> Any:
        while not self._queue:
            if self._end is EOF:
                return EOF
            if self._end is not None:
                raise self._end
            self._waiting = self._loop.create_future()
            await self._waiting
        message = self._queue.popleft()
        self.wake()
        return message


class Connection:
    """`up` goes to the replica, `down` to whoever dialled. `beside`: the link's, of a lane or a bulk lane, which breaks with it."""

    def __init__(self, network: Network, dialler: str, replica: str, beside: Connection | None = None) -> None:
        self.network, self.dialler, self.replica, self.beside = network, dialler, replica, beside
        self.streams: list[Connection] = []
        self.up, self.down = Half(network), Half(network)
        self.serving: asyncio.Task[None] | None = None
        self.open = True
        self.is_bulk = False

    def accept(self, serve: Serve) -> None:
        self.serving = self.network.loop.create_task(self._serve(serve), name=f"serve {self.dialler} at {self.replica}")

    async def _serve(self, serve: Serve) -> None:
        try:
            await serve(None, Context(self))
            self.down.end(EOF)
        except (Aborted, asyncio.CancelledError):
            pass
        except Exception as error:
            self.network.failed(f"serving {self.dialler} at {self.replica}: {error!r}")
            raise
        finally:
            self.closed()

    def closed(self) -> None:
        if self.open:
            self.open = False
            self.network.connections.remove(self)
            if self.beside is not None:
                self.beside.streams.remove(self)

    def cancel_serving(self) -> None:
        """The replica has noticed that its peer is gone."""
        if self.serving is not None:
            self.serving.cancel()
        elif self.beside is not None:
            self.up.end_now(unavailable("the connection broke"))
        self.closed()

    def hang_up(self) -> None:
        """By the dialling end."""
        self.down.lost = True
        if not self.up.lost:
            self.network.loop.call_later(self.network.latency(), self.cancel_serving)

    def cut(self, *, arrives: bool, up_notices: float, down_notices: float) -> None:
        """`arrives`: what is on its way still does; the ends notice after so many seconds."""
        for stream in list(self.streams):
            stream.cut(arrives=arrives, up_notices=up_notices, down_notices=down_notices)
        loop, error = self.network.loop, unavailable("the connection broke")
        for half in (self.up, self.down):
            if not arrives:
                half.lost = True
        loop.call_later(up_notices, self.cancel_serving)
        loop.call_later(down_notices, self.down.end_now, error)
        loop.call_later(0.0 if not arrives else min(up_notices, down_notices), self._blackhole)

    def broken(self) -> None:
        """The dialling end knows that this one has ended. If it broke, nothing beside it is left."""
        if self.down.ended is not EOF:
            for stream in list(self.streams):
                stream.cut(arrives=False, up_notices=0.0, down_notices=0.0)

    def _blackhole(self) -> None:
        self.up.lost = self.down.lost = True


class Context:
    """What a servicer sees of its RPC."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> Any:
        return await self._connection.up.read()

    async def write(self, message: Any) -> None:
        self._connection.down.send(message)

    def peer(self) -> str:
        return self._connection.dialler

    def invocation_metadata(self) -> None:
        """Nobody has a token."""

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any = ()) -> None:
        self._connection.down.end(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message))
        raise Aborted


class Channel:
    """In place of grpc.aio's: one channel, one link."""

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._dialler, _, host = address.partition(".")
        self._replica = host.partition(":")[0]
        self.connection: Connection | None = None

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.connection is not None:
            self.connection.hang_up()

    def Link(self, metadata: object = None) -> Channel:  # noqa: N802
        """The stub's method, and the call that it gives."""
        self.connection = self._network.connect(self._dialler, self._replica)
        return self

    async def write(self, message: Any) -> None:
        assert self.connection is not None
        self.connection.up.send(message)

    async def read(self) -> Any:
        assert self.connection is not None
        return await self.connection.down.read()

    async def done_writing(self) -> None:
        assert self.connection is not None
        self.connection.up.end(EOF)


class Socket:
    """One end of a connection beside a link, in place of a socket: it gives and takes messages."""

    def __init__(self, connection: Connection, inward: Half, outward: Half, *, dialled: bool) -> None:
        self.connection, self.inward, self.outward = connection, inward, outward
        self._dialled = dialled

    def close(self) -> None:
        """The other end is told, after a while."""
        if self.inward.ended is None:
            self.inward.give_up(unavailable("it was closed"))
        self.outward.wake()
        self.outward.end(unavailable("the other end has hung up"))
        if self._dialled:
            self.connection.closed()


class Network:
    """`hosts`: what serves at each replica that is up, by method; `lane_ports`: its lanes. `blocked`: (dialler, replica) between which
    nothing new is let through.

    `failed` is told of servicers that raise what they must not.
    """

    def __init__(self, chance: random.Random, replicas: tuple[str, ...], failed: Callable[[str], None]) -> None:
        self.failed = failed
        self.loop = asyncio.get_running_loop()
        self.chance = chance
        self.replicas = replicas
        self.hosts: dict[str, Mapping[str, Serve]] = {}
        self.lane_ports: dict[str, Lanes] = {}
        self.connections: list[Connection] = []
        self.blocked: set[tuple[str, str]] = set()
        self.slowest = 0.002
        self.doomed = 0
        """So many of the next streams of agents will break, while their links don't."""

    def latency(self) -> float:
        return self.chance.random() * self.slowest

    def connect(self, dialler: str, replica: str, method: str = "Link") -> Connection:
        """A gRPC stream."""
        connection = Connection(self, dialler, replica)
        connection.down.on_end = connection.broken
        host = self.hosts.get(replica)
        if host is None or (dialler, replica) in self.blocked:
            connection.open = False
            self.loop.call_later(self.latency(), connection.down.end_now, unavailable("connection refused"))
            return connection
        self.connections.append(connection)
        connection.accept(host[method])
        return connection

    async def dial(self, host: str, _port: int, ticket: bytes, _seconds: float, _tls: None = None) -> Socket | None:
        """In place of `snakepit._wire.connect.dial`. `host`: the dialler's name and the replica's."""
        dialler, _, replica = host.partition(".")
        await asyncio.sleep(self.latency())
        links = [each for each in self.connections if each.beside is None and (each.dialler, each.replica) == (dialler, replica)]
        link = links[-1] if links else None
        take = self.lane_ports[replica].tickets.get(ticket) if replica in self.hosts else None
        if link is None or take is None or (dialler, replica) in self.blocked or link.down.ended is not None:
            return None
        connection = Connection(self, dialler, replica, link)
        connection.up.on_end, connection.down.on_end = connection.down.wake, connection.up.wake
        if not take(Socket(connection, connection.up, connection.down, dialled=False)):  # type: ignore[arg-type]
            return None
        self.connections.append(connection)
        link.streams.append(connection)
        if link.up.lost or link.down.lost:
            # Nobody knows yet that nothing gets through; whoever notices first of the link's ends ends this too.
            connection.up.lost = connection.down.lost = True
        return Socket(connection, connection.down, connection.up, dialled=True)

    def perhaps_break(self, lane: Connection) -> None:
        """A call begins on a bulk lane: of an agent?"""
        if self.doomed and not lane.dialler.startswith("client"):
            self.doomed -= 1
            up, down = self.chance.random() * 0.01, self.chance.random() * 0.01
            self.loop.call_later(self.chance.random() * 0.006, self._break, lane, up, down)

    @staticmethod
    def _break(stream: Connection, up: float, down: float) -> None:
        if stream.open:
            stream.cut(arrives=False, up_notices=up, down_notices=down)

    @property
    def bulk_lanes(self) -> list[Connection]:
        """Open ones."""
        return [each for each in self.connections if each.is_bulk]

    async def resolve(self, target: str) -> dict[str, str]:
        """In place of a name's look-up: every replica, as the dialler that the target names reaches it."""
        dialler = target.partition(".")[0]
        return {f"{dialler}.{replica}:7800": replica for replica in self.replicas}
