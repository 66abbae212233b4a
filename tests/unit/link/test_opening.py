"""Streams that are being opened when all is over for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from snakepit._wire import Link
from snakepit._wire.dial import Replica
from snakepit._wire.opening import write_first
from snakepit.client.carrying import Carry
from snakepit.errors import ServerUnavailable, SnakepitError
from snakepit.v1 import link_pb2
from snakepit_agent.link.pipes import Broken, Line, fetch_arguments

SOON = 10.0


@pytest.fixture
async def mute() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to somebody who takes the connection and never says a word: it connects for as long as it is open."""
    there = asyncio.Event()
    held: list[asyncio.StreamWriter] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        there.set()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    channel.get_state(try_to_connect=True)
    await asyncio.wait_for(there.wait(), SOON)
    yield channel
    await channel.close()
    for writer in held:
        writer.close()
    server.close()


def beside(channel: grpc.aio.Channel) -> Replica:
    """The channel of a link that has no lanes."""
    link = Link(asyncio.Event().wait, lambda message: asyncio.sleep(0), link_pb2.LinkRequest, lambda link, frames: None)
    return Replica(link, channel, "nowhere", "r", 1)


async def test_a_carry_whose_channel_is_closed_before_it_is_connected_ends(mute: grpc.aio.Channel) -> None:
    """As a link's is when its replica is killed."""
    carry = Carry(beside(mute), (), timeout=60)

    async def opened() -> None:
        await carry.begin(link_pb2.CarryRequest(fetch="c"))
        await carry.read()

    opening = asyncio.create_task(opened())
    await asyncio.sleep(0)
    await mute.close()
    with pytest.raises(SnakepitError):
        await asyncio.wait_for(opening, SOON)


async def test_an_agent_that_fetches_arguments_over_such_a_channel_hears_that_it_is_broken(mute: grpc.aio.Channel) -> None:
    fetching = asyncio.create_task(fetch_arguments(Line(beside(mute), 1, "i", 60.0), [1]))
    await asyncio.sleep(0)
    await mute.close()
    with pytest.raises(Broken):
        await asyncio.wait_for(fetching, SOON)


async def test_a_first_message_ends_with_its_stream_and_a_cancelled_wait_leaves_nothing(mute: grpc.aio.Channel) -> None:
    before = asyncio.all_tasks()
    rpc = mute.stream_stream("/a/B")(timeout=60)
    writing = asyncio.create_task(write_first(rpc, b"x"))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing], timeout=SOON)
    assert writing.cancelled()
    rpc.cancel()
    await asyncio.wait_for(asyncio.gather(*(asyncio.all_tasks() - before), return_exceptions=True), SOON)


async def test_a_carry_whose_channel_was_closed_before_it_was_opened_never_started(mute: grpc.aio.Channel) -> None:
    """As when its replica is killed while a lane is waited for."""
    await mute.close()
    carry = Carry(beside(mute), (), timeout=60)
    with pytest.raises(ServerUnavailable):
        await carry.begin(link_pb2.CarryRequest(fetch="c"))
    assert carry.never_started
    carry.cancel()
