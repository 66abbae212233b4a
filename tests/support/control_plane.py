"""A control-plane replica in the test's own process, and a plain gRPC caller of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc

from snakepit import Client
from snakepit._wire.link import Link
from snakepit._wire.status import from_rpc_error
from snakepit.errors import SnakepitError
from snakepit.v1 import (
    common_pb2,
    pool_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
    tool_pb2_grpc,
)
from snakepit_control_plane.server import Running, serve
from snakepit_control_plane.settings import Settings
from snakepit_control_plane.store.interface import Store
from support.eventually import PATIENCE_SECONDS, eventually
from support.metrics import scraped
from support.simulated_agent import POOL


@contextlib.asynccontextmanager
async def replica(store: Store | None = None, *, told: bool = True, **settings: Any) -> AsyncIterator[Running]:
    """A replica on free loopback ports, which waits for no operator; stopped without lingering."""
    running = await serve(Settings(**{"listen": "127.0.0.1:0", "metrics": "127.0.0.1:0", "linger_seconds": 0.0, **settings}), store)
    if told:
        running.fleet.sync([], complete=True, drain=[], names=list(running.flow.pools))
    try:
        yield running
    finally:
        if not running.stopping:
            await running.stop(linger=0, drain=0)


def clients(server: Running) -> list[Link]:
    """Links of clients that the replica has."""
    return [link for link, peer in server.links.links.items() if peer.role == "client"]


async def scrape(server: Running) -> Mapping[tuple[str, tuple[str, ...]], float]:
    """Values by the metric's name, and the values of its labels but for the pool's, in the order of their names."""
    found = {}
    for family in await scraped(server.telemetry.registry.application()):
        for sample in family.samples:
            labels = tuple(value for label, value in sorted(sample.labels.items()) if (label, value) != ("pool", POOL))
            found[sample.name, labels] = sample.value
    return found


def counted(server: Running, metric: str, **labels: str) -> float:
    """What a scrape says of a metric that is counted; 0: nothing yet. It can't be asked for those that only the loop knows: this is it."""
    samples = (sample for each in server.telemetry.registry.instruments for family in each.collect() for sample in family.samples)
    return next((each.value for each in samples if (each.name, each.labels) == (metric, labels)), 0.0)


async def linked(*servers: Running) -> None:
    """Each has been linked by a client."""
    await eventually(lambda: all(clients(each) for each in servers), "every replica is linked")


async def may_use(client: Client, count: int) -> None:
    """The client knows that it may send calls to so many replicas. Nobody else does, and it tells nobody."""
    await eventually(lambda: client.links == count, f"the client may use {count} replicas")


class Caller:
    """Calls as any language's gRPC client would; failures are raised as the table's errors."""

    def __init__(self, channel: grpc.aio.Channel, token: str = "") -> None:
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.router = router_pb2_grpc.RouterServiceStub(channel)
        self.sessions = session_pb2_grpc.SessionServiceStub(channel)
        self.pools = pool_pb2_grpc.PoolServiceStub(channel)
        self.tools = tool_pb2_grpc.ToolServiceStub(channel)

    async def call(self, tool: str, arguments: dict[str, Any] | None = None, *, timeout: float = PATIENCE_SECONDS, **fields: Any) -> Any:
        request = router_pb2.ExecuteRequest(pool=fields.pop("pool", POOL), tool=tool, **fields)
        request.json.update(arguments or {})
        return await rpc(self.router.Execute(request, timeout=timeout, metadata=self.metadata))

    async def plain(self, tool: str, payload: common_pb2.Payload, *, timeout: float = 30.0) -> router_pb2.ExecuteResponse:
        """The payload form."""
        request = router_pb2.ExecuteRequest(pool="default/large", tool=tool, payload=payload)
        return await rpc(self.router.Execute(request, timeout=timeout, metadata=self.metadata))

    def start(self, tool: str, arguments: dict[str, Any] | None = None, **fields: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self.call(tool, arguments, **fields))

    def stream(self, tool: str, arguments: dict[str, Any], *, timeout: float = PATIENCE_SECONDS, **fields: Any) -> Any:
        request = router_pb2.ExecuteStreamRequest(pool=fields.pop("pool", POOL), tool=tool, **fields)
        request.json.update(arguments)
        return self.router.ExecuteStream(request, timeout=timeout, metadata=self.metadata)

    async def create(self, name: str, pool: str = POOL, **fields: Any) -> session_pb2.CreateSessionResponse:
        request = session_pb2.CreateSessionRequest(pool=pool, session_id=name, **fields)
        return await rpc(self.sessions.CreateSession(request, metadata=self.metadata))

    async def session(self, name: str) -> session_pb2.Session:
        request = session_pb2.GetSessionRequest(pool=POOL, session_id=name)
        return (await rpc(self.sessions.GetSession(request, metadata=self.metadata))).session

    async def rebind(self, name: str) -> session_pb2.Session:
        request = session_pb2.RebindSessionRequest(pool=POOL, session_id=name)
        return (await rpc(self.sessions.RebindSession(request, metadata=self.metadata))).session

    async def listed(self) -> list[session_pb2.Session]:
        return list((await self.page()).sessions)

    async def page(self, size: int = 0, after: str = "") -> session_pb2.ListSessionsResponse:
        request = session_pb2.ListSessionsRequest(pool=POOL, page_size=size, page_token=after)
        return await rpc(self.sessions.ListSessions(request, metadata=self.metadata))

    async def delete(self, name: str) -> bool:
        request = session_pb2.DeleteSessionRequest(pool=POOL, session_id=name)
        return (await rpc(self.sessions.DeleteSession(request, metadata=self.metadata))).deleted


async def rpc(call: Any) -> Any:
    """The answer; a failure as the table's exception."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


@contextlib.asynccontextmanager
async def calling(address: str) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield Caller(channel)


async def outcome(task: asyncio.Task[Any]) -> Any:
    """The answer or the SnakepitError of a call that was started."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await task
    except SnakepitError as error:
        return error


HINT = common_pb2.AFFINITY_HINT
STRICT_QUEUE = common_pb2.AFFINITY_STRICT_QUEUE
STRICT_FAIL_FAST = common_pb2.AFFINITY_STRICT_FAIL_FAST


def waiting(server: Running) -> int:
    """How many calls of the pool are in its queue."""
    return server.flow.pools[POOL].queue.depth


async def collect(stream: Any) -> list[router_pb2.ExecuteStreamResponse]:
    """All that is left of it."""
    async with asyncio.timeout(10):
        chunks = []
        while (chunk := await stream.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            chunks.append(chunk)
        return chunks
