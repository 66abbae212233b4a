"""Links without sockets, and the streams of single calls beside them: gRPC's bidirectional streams as queues whose messages take a random
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

from snakepit._wire.link import EOF

Serve = Callable[[Any, Any], Awaitable[None]]

TICK = 1e-7
"""Between two messages: they never arrive at the same time, so their order is that of sending."""

WINDOW = 2
"""Messages of a call's own stream that may be on their way, or unread: then writing waits, as gRPC's flow control has it."""


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
    """`up` goes to the replica, `down` to whoever dialled. `beside`: the link's, of a stream of a single call, which breaks with it."""

    def __init__(self, network: Network, dialler: str, replica: str, beside: Connection | None = None) -> None:
        self.network, self.dialler, self.replica, self.beside = network, dialler, replica, beside
        self.streams: list[Connection] = []
        self.up, self.down = Half(network), Half(network)
        self.serving: asyncio.Task[None] | None = None
        self.open = True

    def accept(self, serve: Serve) -> None:
        self.serving = self.network.loop.create_task(self._serve(serve), name=f"serve {self.dialler} at {self.replica}")

    async def _serve(self, serve: Serve) -> None:
        try:
            await serve(None, Context(self))
            self.down.end(EOF)
            if self.beside is not None:
                self.up.lost = True
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
        if self._connection.beside is None:
            self._connection.down.send(message)
        else:
            await self._connection.down.write(message)

    def peer(self) -> str:
        return self._connection.dialler

    def invocation_metadata(self) -> None:
        """Nobody has a token."""

    async def abort(self, code: grpc.StatusCode, message: str, trailers: Any = ()) -> None:
        self._connection.down.end(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message))
        raise Aborted


class Channel:
    """In place of grpc.aio's: one channel, one link, and the streams of calls beside it."""

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._dialler, _, host = address.partition(".")
        self._replica = host.partition(":")[0]
        self.connection: Connection | None = None
        self.rpcs: dict[Rpc, None] = {}
        self._closed = False

    async def __aenter__(self) -> Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for rpc in list(self.rpcs):
            rpc.cancel()
        if self.connection is not None:
            self.connection.hang_up()

    def Link(self, metadata: object = None) -> Channel:  # noqa: N802
        """The stub's method, and the call that it gives."""
        self.connection = self._network.connect(self._dialler, self._replica)
        return self

    def stream_stream(self, path: str) -> Callable[..., Rpc]:
        def start(metadata: object = None, timeout: float | None = None) -> Rpc:
            if self._closed or self.connection is None:
                raise grpc.aio.UsageError("the channel is closed")
            return Rpc(self, self._network.connect(self._dialler, self._replica, path.rpartition("/")[2], self.connection), timeout)

        return start

    async def write(self, message: Any) -> None:
        assert self.connection is not None
        self.connection.up.send(message)

    async def read(self) -> Any:
        assert self.connection is not None
        return await self.connection.down.read()

    async def done_writing(self) -> None:
        assert self.connection is not None
        self.connection.up.end(EOF)


class Rpc:
    """A call's own stream at the dialling end, as grpc.aio's stream calls behave."""

    def __init__(self, channel: Channel, connection: Connection, timeout: float | None) -> None:
        self._channel, self._connection = channel, connection
        self._timer = connection.network.loop.call_later(timeout, self._expire) if timeout is not None else None
        channel.rpcs[self] = None
        connection.down.on_end = self._ended

    def _ended(self) -> None:
        self._channel.rpcs.pop(self, None)
        if self._connection.serving is None:
            self._connection.closed()
        if self._timer is not None:
            self._timer.cancel()
        self._connection.up.wake()

    def _expire(self) -> None:
        self._end(grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "Deadline Exceeded"))

    def _end(self, how: BaseException) -> None:
        self._connection.hang_up()
        self._connection.down.give_up(how)

    def cancel(self) -> bool:
        ended = self._connection.down.ended
        if not isinstance(ended, BaseException):
            self._end(asyncio.CancelledError())
        return ended is None

    async def read(self) -> Any:
        try:
            return await self._connection.down.read()
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def write(self, message: Any) -> None:
        down = self._connection.down
        if down.ended is not None:
            raise asyncio.InvalidStateError("RPC already finished.")
        try:
            await self._connection.up.write(message, lambda: down.ended is not None)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if isinstance(down.ended, BaseException):
            raise down.ended

    async def done_writing(self) -> None:
        self._connection.up.end(EOF)

    async def code(self) -> grpc.StatusCode:
        """After the last message was read."""
        ended = self._connection.down.ended
        return ended.code() if isinstance(ended, grpc.aio.AioRpcError) else grpc.StatusCode.OK

    async def details(self) -> str | None:
        ended = self._connection.down.ended
        return ended.details() if isinstance(ended, grpc.aio.AioRpcError) else ""


class Network:
    """`hosts`: what serves at each replica that is up, by method. `blocked`: (dialler, replica) between which nothing new is let through.

    `failed` is told of servicers that raise what they must not.
    """

    def __init__(self, chance: random.Random, replicas: tuple[str, ...], failed: Callable[[str], None]) -> None:
        self.failed = failed
        self.loop = asyncio.get_running_loop()
        self.chance = chance
        self.replicas = replicas
        self.hosts: dict[str, Mapping[str, Serve]] = {}
        self.connections: list[Connection] = []
        self.blocked: set[tuple[str, str]] = set()
        self.slowest = 0.002
        self.doomed = 0
        """So many of the next streams of agents will break, while their links don't."""

    def latency(self) -> float:
        return self.chance.random() * self.slowest

    def connect(self, dialler: str, replica: str, method: str = "Link", beside: Connection | None = None) -> Connection:
        connection = Connection(self, dialler, replica, beside)
        connection.down.on_end = connection.broken
        serve = self.hosts.get(replica)
        if serve is None or (dialler, replica) in self.blocked or (beside is not None and beside.down.ended is not None):
            connection.open = False
            self.loop.call_later(self.latency(), connection.down.end_now, unavailable("connection refused"))
            return connection
        self.connections.append(connection)
        if beside is not None:
            beside.streams.append(connection)
            self._perhaps_break(connection, method)
        if beside is not None and (beside.up.lost or beside.down.lost):
            # Nobody knows yet that nothing gets through; whoever notices first of the link's ends ends this too.
            connection.up.lost = connection.down.lost = True
        else:
            connection.accept(serve[method])
        return connection

    def _perhaps_break(self, stream: Connection, method: str) -> None:
        if self.doomed and method == "Pipe":
            self.doomed -= 1
            up, down = self.chance.random() * 0.01, self.chance.random() * 0.01
            self.loop.call_later(self.chance.random() * 0.006, self._break, stream, up, down)

    @staticmethod
    def _break(stream: Connection, up: float, down: float) -> None:
        if stream.open:
            stream.cut(arrives=False, up_notices=up, down_notices=down)

    @property
    def streams(self) -> list[Connection]:
        """Of single calls."""
        return [each for each in self.connections if each.beside is not None]

    async def resolve(self, target: str) -> set[str]:
        """In place of a name's look-up: every replica, as the dialler that the target names reaches it."""
        dialler = target.partition(".")[0]
        return {f"{dialler}.{replica}:7800" for replica in self.replicas}
