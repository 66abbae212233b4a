"""The caller's links: several replicas, replicas that stop, die or were never there. Real replicas; workers are simulated."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

import snakepit
from snakepit import Client, Started
from snakepit._wire import bulk_calls
from snakepit._wire.dial import BACKOFF_SECONDS, Dialer, Replica
from snakepit._wire.protocol import NEWEST
from snakepit.client import peers
from snakepit.v1 import link_pb2, link_pb2_grpc
from snakepit_control_plane.server import Running
from support.control_plane import clients, eventually, may_use, replica
from support.ports import free_port
from support.simulated_agent import POOL, simulated_agent


async def test_nobody_at_the_address_is_said_at_once_with_the_address_and_the_fix() -> None:
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    async with Client(address, connect_timeout=60) as client:
        with pytest.raises(snakepit.ServerUnavailable, match=f"{address}: is `snakepit dev` running") as caught:
            await client.pool("digits").call("classify")
    assert caught.value.started is Started.NO
    assert time.monotonic() - began < 20


async def test_at_the_port_of_an_http_server_it_is_said_which_one_calls_have() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Client("{}:{}".format(*server.sockets[0].getsockname())) as client:
        with pytest.raises(snakepit.ServerUnavailable, match="an HTTP server answers there, a gateway say: calls have port 7800"):
            await client.pool("digits").call("classify", timeout=20)


async def test_a_pod_that_has_just_begun_dials_on_while_the_network_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    port = free_port()
    async with Client(f"127.0.0.1:{port}") as client:
        call = asyncio.create_task(client.pool("digits").call("classify"))
        await asyncio.sleep(4 * peers.REFUSED_SECONDS)
        assert not call.done()
        with pytest.raises(snakepit.ServerUnavailable, match="is this pod's namespace labelled"):
            await call


@pytest.mark.parametrize("address", ["localhost", "localhost:http", ":7800"])
async def test_an_address_without_host_and_port_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        async with Client(address):
            pass


async def test_a_server_of_another_protocol_version_is_said_as_it_is() -> None:
    class Old(link_pb2_grpc.LinkServiceServicer):
        async def Link(self, requests: object, context: object) -> AsyncIterator[link_pb2.LinkResponse]:  # noqa: N802
            yield link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=link_pb2.Welcome(protocol=NEWEST + 1))])
            await asyncio.Event().wait()  # until the client hangs up

    server = grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(Old(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}") as client:
            with pytest.raises(snakepit.ProtocolMismatch, match="upgrade this program"):
                await client.pool("digits").call("classify")
    finally:
        await server.stop(0)


class Leaving(link_pb2_grpc.LinkServiceServicer):
    """Welcomes, and sends the first so many away in the same breath. `dialled`: when, by the event loop's clock."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.dialled: list[float] = []

    async def Link(self, requests: object, context: object) -> AsyncIterator[link_pb2.LinkResponse]:  # noqa: N802
        self.dialled.append(asyncio.get_running_loop().time())
        welcome = link_pb2.Frame(welcome=link_pb2.Welcome(protocol=NEWEST))
        away = [link_pb2.Frame(go_away=link_pb2.GoAway())] if len(self.dialled) <= self._times else []
        yield link_pb2.LinkResponse(frames=[welcome, *away])
        await asyncio.Event().wait()  # until the client hangs up


@pytest.mark.parametrize("times", [1, 4])
async def test_a_replica_that_welcomes_and_sends_away_in_one_breath_is_dialled_anew_with_growing_pauses(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    server, leaving = grpc.aio.server(), Leaving(times)
    link_pb2_grpc.add_LinkServiceServicer_to_server(leaving, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", lanes=False) as client:
            await eventually(lambda: len(leaving.dialled) == times + 1 and client.links == 1, "it is dialled anew")
    finally:
        await server.stop(0)
    pauses = [later - earlier for earlier, later in pairwise(leaving.dialled)]
    assert all(pause >= BACKOFF_SECONDS.seconds(n) * 0.9 for n, pause in enumerate(pauses, 1)), pauses


async def test_a_replica_that_dies_during_a_call_is_lost_and_the_call_maybe_ran(server: Running) -> None:
    async with simulated_agent(server.address) as agent, Client(server.address) as client:
        call = asyncio.create_task(client.pool(POOL).call("hang", timeout=30))
        await eventually(lambda: agent.running, "the call runs")
        clients(server)[0].close("the test cuts it")
        with pytest.raises(snakepit.ReplicaLost) as caught:
            await call
        assert caught.value.started is Started.MAYBE


async def test_after_a_broken_link_the_next_call_finds_a_new_one(server: Running) -> None:
    async with simulated_agent(server.address), Client(server.address) as client:
        pool = client.pool(POOL)
        assert await pool.call("echo", {"value": 1}, timeout=10) == {"value": 1}
        (cut,) = clients(server)
        cut.close("the test cuts it")
        await eventually(lambda: cut not in clients(server), "the link is gone")
        assert await pool.call("echo", {"value": 2}, timeout=10) == {"value": 2}


async def test_a_replica_that_stops_finishes_its_calls_and_its_successor_gets_the_new_ones(server: Running) -> None:
    async with simulated_agent(server.address) as agent, Client(server.address, connect_timeout=10) as client:
        pool = client.pool(POOL)
        running = asyncio.create_task(pool.call("hang", timeout=30))
        await eventually(lambda: agent.running, "the call runs")
        stopping = asyncio.create_task(server.stop(linger=0, drain=10))
        await may_use(client, 0)
        later = asyncio.create_task(pool.call("echo", {"value": 1}, timeout=30))
        agent.let_go()
        assert await running == "late"
        await stopping
        async with replica(listen=server.address):
            # The successor answers. With no store in common it may not have heard of the agent yet; it is ReplicaLost that must not come.
            (answer,) = await asyncio.gather(later, return_exceptions=True)
            assert answer == {"value": 1} or isinstance(answer, snakepit.PoolNotFound | snakepit.PoolNotReady), answer
            await eventually(lambda: agent.replica is not None and agent.replica.link.is_open, "the agent has linked with the successor")
            async with asyncio.timeout(20):
                while isinstance(answer, Exception):
                    (answer,) = await asyncio.gather(pool.call("echo", {"value": 1}, timeout=10), return_exceptions=True)
            assert answer == {"value": 1}


async def test_a_link_goes_on_taking_calls_when_a_request_beside_it_found_no_connection() -> None:
    """A link's connection that is too old takes no more requests, and here there is no room for another one."""
    async with replica(linger_seconds=0.02, max_connections=1) as server, Client(server.address) as client:
        await may_use(client, 1)

        async def asked() -> object:
            (answer,) = await asyncio.gather(client.whoami(), return_exceptions=True)
            return isinstance(answer, snakepit.ReplicaLost)

        await eventually(asked, "its connection is too old")
        assert (client.links, len(clients(server))) == (1, 1)
        with pytest.raises(snakepit.PoolNotFound):
            await client.pool(POOL).call("echo")


async def test_a_link_goes_on_taking_calls_when_no_bulk_lane_could_be_opened(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_calls, "CONNECT_SECONDS", 0.2)
    async with simulated_agent(server.address), Client(server.address) as client:
        pool = client.pool(POOL)
        await may_use(client, 1)
        await server.lanes.stop()
        with pytest.raises(snakepit.Draining, match="went away before it had started the call"):
            await anext(pool.stream("count"))
        assert client.links == 1
        assert await pool.call("echo", {"value": 1}, timeout=10) == {"value": 1}


async def test_cancelling_a_call_tells_the_worker(server: Running) -> None:
    async with simulated_agent(server.address) as agent, Client(server.address) as client:
        call = asyncio.create_task(client.pool(POOL).call("hang", timeout=30))
        await eventually(lambda: agent.running, "the call runs")
        call.cancel()
        await eventually(lambda: agent.cancelled, "the agent was told")


async def test_a_client_that_is_not_open_says_so() -> None:
    with pytest.raises(snakepit.SnakepitError, match="async with"):
        Client("localhost:7800").pool("digits")


async def test_the_token_goes_with_links_and_requests(tmp_path: Path) -> None:
    seen: list[str] = []

    class Recorder(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: object, details: grpc.HandlerCallDetails) -> object:
            seen.extend(str(value) for key, value in details.invocation_metadata if key == "authorization")
            return await continuation(details)  # type: ignore[operator]

    token = tmp_path / "token"
    token.write_text("sesame\n")
    server = grpc.aio.server(interceptors=[Recorder()])
    link_pb2_grpc.add_LinkServiceServicer_to_server(link_pb2_grpc.LinkServiceServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with Client(f"127.0.0.1:{port}", token_file=token):
            await eventually(lambda: seen, "a dial arrived")
    finally:
        await server.stop(0)
    assert set(seen) == {"Bearer sesame"}


async def test_a_replica_that_says_that_it_goes_while_its_link_is_being_closed_is_not_dialled_anew() -> None:
    opened: list[Replica] = []
    hello = link_pb2.Hello(role=link_pb2.ROLE_CLIENT)
    async with replica() as server:
        dialer = Dialer(server.address, lambda _: hello, lambda *_: None, opened.append, lambda *_: None)
        dialer.start()
        await eventually(lambda: opened, "it is linked")
        stopping = asyncio.create_task(dialer.stop())
        await asyncio.sleep(0)
        dialer.renew(opened[0])
        await stopping
        assert not [task for task in asyncio.all_tasks() if task.get_name() == f"dial {server.address}"]


async def test_a_call_whose_replica_was_lost_says_so_also_where_its_client_is_closed_before_it_goes_out_again() -> None:
    async with replica() as server, simulated_agent(server.address) as agent:
        async with Client(server.address, connect_timeout=60) as client:
            call = asyncio.create_task(client.pool(POOL).call("hang"))
            await eventually(lambda: agent.running, "it runs")
            await server.abort()
            await eventually(lambda: "is hang idempotent?" in map(asyncio.Task.get_name, asyncio.all_tasks()), "it may go out again")
        with pytest.raises(snakepit.ReplicaLost):
            await call
