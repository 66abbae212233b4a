"""The retry policy of docs/clients.md in gRPC's own client: what it sends again, and what the control plane tells it not to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

from snakepit import Client
from snakepit.errors import PoolNotReady, SnakepitError, Started, StoreUnavailable
from snakepit.v1 import router_pb2, router_pb2_grpc
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers.arrivals import Arrivals
from snakepit_control_plane.servers.rpc import handlers
from support.control_plane import replica
from support.pages import blocks
from support.simulated_agent import POOL as NAME
from support.simulated_agent import simulated_agent

POLICY = blocks("docs/clients.md", "json", "Trying again")[0].text
LINGER_SECONDS = 1.5
SERVICE = router_pb2.DESCRIPTOR.services_by_name["RouterService"]


class Refusing:
    """Refuses a call as often as there are errors, and answers it then."""

    def __init__(self, *errors: SnakepitError) -> None:
        self._errors = list(errors)
        self.attempts = 0

    async def Execute(self, request: router_pb2.ExecuteRequest, context: object) -> router_pb2.ExecuteResponse:  # noqa: N802
        self.attempts += 1
        if self._errors:
            raise self._errors.pop(0)
        return router_pb2.ExecuteResponse()

    async def ExecuteStream(self, request: object, context: object) -> None:  # noqa: N802
        raise AssertionError


@asynccontextmanager
async def client(refusing: Refusing) -> AsyncIterator[router_pb2_grpc.RouterServiceAsyncStub]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handlers(SERVICE, refusing, Arrivals(30))])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with router(f"127.0.0.1:{port}") as stub:
        yield stub
    await server.stop(None)


@asynccontextmanager
async def router(address: str) -> AsyncIterator[router_pb2_grpc.RouterServiceAsyncStub]:
    async with grpc.aio.insecure_channel(address, options=[("grpc.service_config", POLICY)]) as channel:
        yield router_pb2_grpc.RouterServiceStub(channel)


async def test_a_refusal_of_what_has_not_started_is_sent_again_until_it_is_answered() -> None:
    refusing = Refusing(PoolNotReady("just started"), StoreUnavailable("away", started=Started.NO))
    async with client(refusing) as stub:
        await stub.Execute(router_pb2.ExecuteRequest(), timeout=20)
    assert refusing.attempts == 3


@pytest.mark.parametrize("started", [Started.MAYBE, Started.YES])
async def test_a_refusal_whose_tool_may_have_run_is_not_sent_again(started: Started) -> None:
    refusing = Refusing(StoreUnavailable("away", started=started))
    async with client(refusing) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="away"):
            await stub.Execute(router_pb2.ExecuteRequest(), timeout=20)
    assert refusing.attempts == 1


class Service:
    """As a ClusterIP does it: each new connection to a replica that is ready."""

    def __init__(self) -> None:
        self.ready: list[Running] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self.ready[0].address.split(":")
        upstream, downstream = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_copy(reader, downstream), _copy(upstream, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def test_replicas_that_are_replaced_one_by_one_under_load_cost_no_call() -> None:
    """It lingers for less here than with the chart, so connections are younger too."""
    service, served, replaced = Service(), 0, asyncio.Event()

    async def calls(stub: router_pb2_grpc.RouterServiceAsyncStub) -> None:
        nonlocal served
        while not replaced.is_set():
            await stub.Execute(router_pb2.ExecuteRequest(pool=NAME, tool="echo", payload={"data": b"{}"}), timeout=20)
            served += 1

    async with AsyncExitStack() as stack:

        async def start() -> None:
            running = await stack.enter_async_context(replica(linger_seconds=LINGER_SECONDS))
            await stack.enter_async_context(simulated_agent(running.address))
            service.ready.append(running)

        await start()
        listening = await asyncio.start_server(service.connected, "127.0.0.1", 0)
        stub = await stack.enter_async_context(router(f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"))
        async with asyncio.TaskGroup() as callers:
            for _ in range(8):
                callers.create_task(calls(stub))
            for _ in range(3):
                await start()
                before = served
                await service.ready.pop(0).stop(drain=10)
                async with asyncio.timeout(20):
                    while served < before + 50:
                        await asyncio.sleep(0.01)
            replaced.set()
        listening.close()
    print(f"{served} calls, none failed")


async def test_links_outlive_the_age_of_their_connections() -> None:
    async with replica(linger_seconds=0.2) as running, simulated_agent(running.address), Client(running.address) as client:
        pool = client.pool(NAME)
        await pool.call("echo", {})
        before = set(running.links.links)
        await asyncio.sleep(1)
        assert await pool.call("echo", {}) is not None
        assert set(running.links.links) == before
        assert len(before) == 2
