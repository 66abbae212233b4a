"""Links without sockets: gRPC's bidirectional streams as queues whose messages take a random while, and connections that break.

What arrives, arrives in order. Of what is on its way when a connection breaks, nothing arrives any more, or all of it; and either end
may notice long before the other.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from snakepit.link.link import EOF

Serve = Callable[[Any, Any], Awaitable[None]]

TICK = 1e-7
"""Between two messages: they never arrive at the same time, so their order is that of sending."""


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
        self.last = 0.0
        self.lost = False

    def send(self, message: Any) -> None:
        if not self.lost:
            self.last = max(self.last + TICK, self._loop.time() + self._network.latency())
            self._loop.call_at(self.last, self._arrive, message)

    def end(self, how: Any) -> None:
        """`how` comes behind everything that was sent: EOF, or an error that reading raises."""
        self.last = max(self.last + TICK, self._loop.time() + self._network.latency())
        self._loop.call_at(self.last, self.end_now, how)

    def end_now(self, how: Any) -> None:
        self.lost = True
        if self._end is None:
            self._end = how
            self._wake()

    def _arrive(self, message: Any) -> None:
        if not self.lost:
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
        return self._queue.popleft()


class Connection:
    """`up` goes to the replica, `down` to whoever dialled."""

    def __init__(self, network: Network, dialler: str, replica: str) -> None:
        self.network, self.dialler, self.replica = network, dialler, replica
        self.up, self.down = Half(network), Half(network)
        self.serving: asyncio.Task[None] | None = None
        self.open = True

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
        loop, error = self.network.loop, unavailable("the connection broke")
        for half in (self.up, self.down):
            if not arrives:
                half.lost = True
        loop.call_later(up_notices, self.cancel_serving)
        loop.call_later(down_notices, self.down.end_now, error)
        loop.call_later(0.0 if not arrives else min(up_notices, down_notices), self._blackhole)

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
    """In place of grpc.aio's: one channel, one connection."""

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


class Network:
    """`hosts`: what serves at each replica that is up. `blocked`: (dialler, replica) between which nothing new is let through.

    `failed` is told of servicers that raise what they must not.
    """

    def __init__(self, chance: random.Random, replicas: tuple[str, ...], failed: Callable[[str], None]) -> None:
        self.failed = failed
        self.loop = asyncio.get_running_loop()
        self.chance = chance
        self.replicas = replicas
        self.hosts: dict[str, Serve] = {}
        self.connections: list[Connection] = []
        self.blocked: set[tuple[str, str]] = set()
        self.slowest = 0.002

    def latency(self) -> float:
        return self.chance.random() * self.slowest

    def connect(self, dialler: str, replica: str) -> Connection:
        connection = Connection(self, dialler, replica)
        serve = self.hosts.get(replica)
        if serve is None or (dialler, replica) in self.blocked:
            connection.open = False
            self.loop.call_later(self.latency(), connection.down.end_now, unavailable("connection refused"))
        else:
            self.connections.append(connection)
            connection.accept(serve)
        return connection

    async def resolve(self, target: str) -> set[str]:
        """In place of a name's look-up: every replica, as the dialler that the target names reaches it."""
        dialler = target.partition(".")[0]
        return {f"{dialler}.{replica}:7800" for replica in self.replicas}
