"""Limits by subject and by address, at a replica, whichever way calls come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc
import pytest

from snakepit.errors import CallerLimit, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.shares import BURST_SECONDS
from snakepit_control_plane.server import Running
from support.attack import ByHand, attacker
from support.bare_client import bare_client
from support.control_plane import Caller, calling, eventually, replica, rpc
from support.simulated_agent import simulated_agent


async def refusal_of_a_link(channel: grpc.aio.Channel) -> SnakepitError:
    link = ByHand(channel)
    hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT)

    async def read() -> None:
        await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        while await link.stream.read() is not grpc.aio.EOF:
            continue

    with pytest.raises(CallerLimit) as refused:
        await rpc(read())
    return refused.value


@contextlib.asynccontextmanager
async def links(channel: grpc.aio.Channel, count: int) -> AsyncIterator[None]:
    made = [await ByHand(channel).open() for _ in range(count)]
    yield
    for each in made:
        each.stream.cancel()


def is_empty(server: Running) -> bool:
    return len(server.links._door.shares) == 0  # noqa: SLF001


async def test_one_link_too_many_is_refused_by_name_and_there_is_room_again_when_one_ends() -> None:
    async with replica(max_links_per_address=3) as server, attacker(server) as channel:
        async with links(channel, 3):
            error = await refusal_of_a_link(channel)
            assert error.message.startswith("address ipv4:127.0.0.1 has 3 links open here, as many as maxLinksPerAddress allows: share one")
            assert error.details["limit"] == "maxLinksPerAddress"
        await eventually(lambda: is_empty(server))
        async with links(channel, 3):
            pass


async def test_who_opens_links_without_end_is_told_its_pace() -> None:
    made = []

    async def without_end(channel: grpc.aio.Channel) -> None:
        while True:
            made.append(await ByHand(channel).open())

    async with replica(max_hellos_per_second=2) as server, attacker(server) as channel:
        with pytest.raises(CallerLimit) as refused:
            await rpc(without_end(channel))
        assert refused.value.details == {"limit": "maxHellosPerSecond", "links": "2"}
        assert len(made) >= 2 * BURST_SECONDS


async def test_calls_of_links_and_of_plain_grpc_are_one_addresss_together() -> None:
    async with (
        replica(max_calls_per_address=3) as server,
        simulated_agent(server.address, workers=5) as agent,
        calling(server.address) as caller,
        bare_client(server.address) as client,
    ):
        first, second = client.call("hang"), client.call("hang")
        third = asyncio.create_task(caller.call("hang"))
        await eventually(lambda: len(agent.running) == 3)
        with pytest.raises(CallerLimit, match="has 3 calls open here, as many as maxCallsPerAddress allows: wait for some to end"):
            await caller.call("echo")
        stream = caller.stream("count", {"to": 1})
        with pytest.raises(CallerLimit):
            await rpc(read(stream))
        fourth = client.call("echo")
        await eventually(lambda: fourth in client.results)
        assert client.results[fourth].error.reason == "CALLER_LIMIT"
        agent.let_go()
        await third
        await eventually(lambda: {first, second} <= client.results.keys())
        assert (await caller.call("echo")).worker
        await client.stop()
        await eventually(lambda: is_empty(server))


async def read(stream: grpc.aio.UnaryStreamCall[object, object]) -> None:
    async for _ in stream:
        pass


async def test_a_connection_too_many_is_hung_up_and_those_that_are_there_go_on() -> None:
    async with replica(max_connections=3) as server, simulated_agent(server.address), calling(server.address) as caller:
        await caller.call("echo")
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(attacker(server)) for _ in range(3)]
            told = await asyncio.gather(*[Caller(each).call("echo", timeout=1) for each in others], return_exceptions=True)
            assert any(isinstance(each, SnakepitError) for each in told)
            await caller.call("echo")
