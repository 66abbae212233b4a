"""Bulk lanes: what is large, or streams, has TCP connections of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import snakepit
from snakepit._wire import bulk_calls
from snakepit._wire.bulk import Piece
from snakepit._wire.status import from_rpc_error
from snakepit.errors import Draining, SnakepitError, Started
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from snakepit_control_plane.servers import bulk as servers
from support.attack import ByHand, hung_up
from support.bare_client import Client, bare_client
from support.capsules import capsule, ready, spec
from support.control_plane import eventually
from support.gate import Gate, gate
from support.large import MIB, POOL, SAMPLE

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
async def client(server: Running) -> AsyncIterator[snakepit.Client]:
    async with capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
        await ready(client.pool(POOL))
        yield client


@pytest.fixture
def pool(client: snakepit.Client) -> snakepit.Pool:
    return client.pool(POOL)


def lanes(server: Running) -> int:
    """That are open at the replica."""
    return server.links.bulk.count


async def echo(pool: snakepit.Pool, size: int = MIB) -> None:
    content = bytes(range(256)) * (size // 256)
    assert await pool.call("echo", {"value": content}, timeout=30) == content


async def test_calls_one_after_another_use_the_same_lanes(server: Running) -> None:
    async with in_front_of_the_lanes(server) as wire, capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
        pool = await ready(client.pool(POOL))
        for _ in range(10):
            await echo(pool)
            assert [len(chunk) async for chunk in pool.stream("chunks", {"sizes": [10, MIB]}, timeout=30)] == [10, MIB]
    assert wire.came <= 2 + 6, "two links' lanes; of each one bulk lane, and one or two while a call had not quite ended at the next one"


@asynccontextmanager
async def in_front_of_the_lanes(server: Running) -> AsyncIterator[Gate]:
    """Whoever links now comes by it to the lane port."""
    async with gate(server.lanes.port) as wire:
        server.lanes.port = wire.port
        yield wire


async def test_a_lane_that_was_closed_while_nobody_used_it_is_not_used_again(server: Running) -> None:
    async with in_front_of_the_lanes(server) as wire, bare_client(server.address) as client:
        idle = await client.bulk.take()
        client.bulk.give_back(idle)
        assert await client.bulk.take() is idle
        client.bulk.give_back(idle)
        await eventually(lambda: lanes(server) == 1)
        wire.cut(spared=1)
        await eventually(lambda: not lanes(server))
        fresh = await client.bulk.take()
        assert fresh is not idle
        assert fresh.is_quiet
        client.bulk.give_back(fresh)


def close_all(server: Running) -> None:
    for task in server.links.bulk.tasks:
        task.cancel()


async def test_lanes_that_nobody_uses_for_a_while_are_hung_up(
    server: Running, client: snakepit.Client, pool: snakepit.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_calls, "IDLE_SECONDS", 0.05)
    await asyncio.gather(*[echo(pool) for _ in range(6)])
    await eventually(lambda: not lanes(server))
    await echo(pool)


async def test_a_call_that_comes_at_the_very_end_of_a_replica_is_told_that_it_was_not_taken(server: Running) -> None:
    async with bare_client(server.address) as client:
        leaving = client.replica
        assert leaving is not None
        late = await client.bulk.open(listens=True)
        leaving.uses.begin()
        server.links.go_away()
        await eventually(lambda: client.gone_away)
        client.dialer.renew(leaving)
        server.links.close("this replica stops")
        await eventually(lambda: not server.links.links)
        await late.write(link_pb2.FromClient(call=link_pb2.Call(call_id="late", pool=POOL, tool="echo")).SerializeToString())
        with pytest.raises(grpc.RpcError) as told:
            await late.read()
        assert isinstance(from_rpc_error(told.value), Draining)
        late.cancel()
        leaving.uses.end()


async def test_a_stream_whose_lanes_break_ends_with_an_error_and_its_tool_is_stopped(server: Running, pool: snakepit.Pool) -> None:
    stream = pool.stream("endless", {"size": MIB}, timeout=30)
    await anext(stream)
    close_all(server)
    with pytest.raises(SnakepitError) as broken:
        await to_the_end(stream)
    assert broken.value.started is not Started.NO
    await eventually(lambda: not server.flow.calls.count)
    await echo(pool)


async def to_the_end(stream: snakepit.Stream) -> None:
    while True:
        await anext(stream)


@pytest.fixture
def one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that opens has no more."""
    monkeypatch.setattr(bulk_calls, "MOST_LANES", 1)


async def test_more_calls_than_there_may_be_lanes_wait_for_one(one_lane: None, pool: snakepit.Pool) -> None:
    await asyncio.gather(*[echo(pool) for _ in range(6)])


async def test_a_call_that_waits_for_a_lane_ends_by_its_deadline_and_takes_none_with_it(one_lane: None, pool: snakepit.Pool) -> None:
    stream = pool.stream("endless", {"size": 10}, timeout=30)
    await anext(stream)
    with pytest.raises(snakepit.DeadlineExceeded):
        await pool.call("size", {"value": bytes(MIB)}, timeout=0.2)
    waits = asyncio.create_task(echo(pool))
    await asyncio.sleep(0)
    await stream.aclose()
    await waits


async def test_a_call_for_which_the_replica_has_no_lane_is_told_that_it_never_started(
    server: Running, pool: snakepit.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "MOST_LANES", 0)
    monkeypatch.setattr(bulk_calls, "CONNECT_SECONDS", 0.2)
    async with snakepit.Client(server.address, connect_timeout=0.5) as client:
        with pytest.raises(SnakepitError) as refused:
            await client.pool(POOL).call("size", {"value": bytes(MIB)}, timeout=10)
    assert refused.value.started is Started.NO


async def test_a_tool_that_says_how_far_it_is_does_not_idle(server: Running) -> None:
    async with capsule(spec(SAMPLE, call={"streamIdleSeconds": 4.0}), server, pool=POOL), snakepit.Client(server.address) as client:
        await ready(client.pool(POOL))
        assert [chunk async for chunk in client.pool(POOL).stream("murmur", {"seconds": 5.0}, timeout=30)] == [1, 2]


async def test_a_reader_that_is_slow_but_reads_has_not_stalled(server: Running) -> None:
    idle = 2.5
    async with (
        capsule(spec(SAMPLE, call={"streamIdleSeconds": idle}), server, pool=POOL),
        snakepit.Client(server.address) as looks,
        bare_client(server.address) as client,
    ):
        await ready(looks.pool(POOL))
        call = await by_hand(client, "make", {"size": 6 * MIB})
        result = link_pb2.ToClient.FromString(await call.read()).result
        await call.read()  # The chunk that announces the pieces once more.
        left = sum(result.pieces.sections)
        room = memoryview(bytearray(128 * 1024))
        while left > 0:
            piece = await call.read()
            assert isinstance(piece, Piece)
            left -= piece.size
            while piece.left:
                await piece.some(room)
                await asyncio.sleep(idle / 16)  # Its own rhythm: for all of it, it takes several times the idle time.
        call.release()


async def by_hand(client: Client, tool: str, arguments: dict[str, Any]) -> bulk_calls.BulkCall:
    """A call on a bulk lane, whose answer is read as a test likes."""
    call = await client.bulk.open(listens=True)
    frame = link_pb2.Call(call_id="slow", pool=POOL, tool=tool)
    frame.arguments.CopyFrom(snakepit_payload(arguments))
    await call.write(link_pb2.FromClient(call=frame).SerializeToString())
    return call


def snakepit_payload(arguments: dict[str, Any]) -> Any:
    from snakepit._values.payloads import encode
    from snakepit.client.codec import plain_wire

    return plain_wire(encode(arguments))


async def test_what_is_no_message_ends_the_lane_and_nothing_else(server: Running, pool: snakepit.Pool) -> None:
    await echo(pool)
    async with grpc.aio.insecure_channel(server.address) as channel:
        link = await ByHand(channel).open(lane=True)
        with await asyncio.to_thread(link.lane):
            for noise in (b"\xff" * 64, b"\x05\x00\x00\x00\x02hello"):
                with await asyncio.to_thread(link.lane, link.welcome.lane.bulk_ticket) as lane:
                    lane.sendall(noise)
                    assert await asyncio.to_thread(hung_up, lane)
    await echo(pool)
