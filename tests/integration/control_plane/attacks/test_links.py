"""Single messages on links and lanes that are built to be dear: each is refused with a sentence, and nobody else's calls fail for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from snakepit._wire import bulk as sdk_bulk
from snakepit._wire import lane as sdk_lane
from snakepit._wire.channels import LONGEST_BYTES
from snakepit._wire.status import from_frame, from_rpc_error
from snakepit.errors import InvalidArguments, SnakepitError, ToolQuota
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.servers import bulk as bulk_lanes
from support.attack import LONG, MIB, NO_MESSAGE, ByHand, Plane, attachments, attacker, called, hung_up, refused
from support.control_plane import Caller, eventually, replica
from support.simulated_agent import POOL, simulated_agent


def frames(count: int) -> bytes:
    """A LinkRequest of empty frames."""
    return b"\x0a\x00" * count


async def on_a_lane(channel: grpc.aio.Channel, *parts: bytes) -> None:
    """It is hung up on for what it says."""
    link = await ByHand(channel).open(lane=True)
    sock = link.lane()
    with sock:
        await asyncio.to_thread(sock.sendall, b"".join(parts))
        assert await asyncio.to_thread(hung_up, sock)


async def test_a_lane_with_too_many_frames_in_a_message_is_hung_up(channel: grpc.aio.Channel) -> None:
    await on_a_lane(channel, (4 * MIB).to_bytes(4, "little"), frames(2 * MIB))


async def test_a_lane_that_announces_a_message_over_the_limit_is_hung_up_before_it_has_come(channel: grpc.aio.Channel) -> None:
    await on_a_lane(channel, (LONGEST_BYTES + 1).to_bytes(4, "little"))


async def test_a_stream_with_too_many_frames_in_a_message_ends_with_a_sentence(channel: grpc.aio.Channel) -> None:
    link = await ByHand(channel).open()
    await link.stream.write(link_pb2.LinkRequest.FromString(frames(2 * MIB)))
    error = await refused(read_out(link.stream))
    assert "2097152 frames, 65536 is the most" in error.message


async def read_out(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        continue
    raise grpc.aio.AioRpcError(
        await stream.code(), await stream.initial_metadata(), await stream.trailing_metadata(), await stream.details()
    )


async def test_a_hello_with_too_much_in_it_is_refused(channel: grpc.aio.Channel) -> None:
    hello = link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=link_pb2.Hello(protocol=1, role=link_pb2.ROLE_CLIENT))])
    many = ByHand(channel)
    await many.stream.write(link_pb2.LinkRequest.FromString(hello.SerializeToString() + frames(2 * MIB)))
    assert "frames, 65536 is the most" in (await refused(read_out(many.stream))).message
    hello.frames[0].hello.running.extend(range(1, 100_000))
    running = ByHand(channel)
    await running.stream.write(hello)
    assert "hello.running has 99999 calls, 65536 is the most" in (await refused(read_out(running.stream))).message


async def test_refused_links_are_neither_remembered_nor_logged_whole(server: Plane, channel: grpc.aio.Channel) -> None:
    before, size = server.held, server.log.stat().st_size
    for number in range(60):  # 240 MiB, if they were remembered
        hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_AGENT, version=f"{number}{LONG}", capsule=link_pb2.Capsule(name=LONG))
        link = ByHand(channel)
        await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        error = await refused(read_out(link.stream))
        assert error.message.endswith(f"hello.version has {len(LONG) + len(str(number))} characters, 253 is the most")
    assert server.held - before < 30
    assert server.log.stat().st_size - size < 30_000


async def test_of_refused_links_so_many_are_logged_in_a_minute(server: Plane, channel: grpc.aio.Channel) -> None:
    before = len(server.lines)
    for number in range(100):
        link = ByHand(channel)
        hello = link_pb2.Hello(protocol=9, role=link_pb2.ROLE_CLIENT, version=f"made up {number}")
        await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        assert "protocol" in (await refused(read_out(link.stream))).message
    assert len(server.lines) - before <= 30


async def test_an_offer_of_too_many_tools_is_refused_before_any_is_looked_at(channel: grpc.aio.Channel) -> None:
    link = await ByHand(channel).open()
    offer = link_pb2.Offer(id=1, provider="p", pool=POOL)
    frame = link_pb2.Frame(offer=link_pb2.Offer.FromString(offer.SerializeToString() + b"\x0a\x00" * (2 * MIB)))
    error = from_frame((await link.answer(frame)).offer_reply.error)
    assert isinstance(error, ToolQuota)
    assert "offers 2097152 more" in error.message


LINKED: dict[str, tuple[Callable[[], link_pb2.Call], str]] = {
    "attachments": (lambda: called(arguments=attachments(2 * MIB)), "attachments, 10000 is the most"),
    "call id": (lambda: called(traceparent=LONG), "65536 is the most"),
    "worker": (lambda: called(worker=LONG, incarnation=LONG), "65536 is the most"),
    "metadata": (lambda: called(metadata={"a": LONG}), "65536 is the most"),
}


@pytest.mark.parametrize("deed", LINKED)
async def test_a_call_on_a_link_with_too_much_of_a_thing_is_refused(channel: grpc.aio.Channel, deed: str) -> None:
    call, sentence = LINKED[deed]
    link = await ByHand(channel).open()
    error = from_frame((await link.answer(link_pb2.Frame(call=call()))).result.error)
    assert isinstance(error, InvalidArguments)
    assert sentence in error.message


@pytest.mark.parametrize("count", [0, 2 * MIB])
async def test_sections_that_can_not_be_are_refused(channel: grpc.aio.Channel, count: int) -> None:
    call = link_pb2.FromClient(call=called(pieces=link_pb2.Pieces(sections=[0] * count)))
    error = await failed_on_a_bulk_lane(channel, call.SerializeToString())
    assert isinstance(error, InvalidArguments)
    assert ("attachments, 10000 is the most" if count else "pieces.sections is empty") in error.message


async def failed_on_a_bulk_lane(channel: grpc.aio.Channel, opening: bytes) -> SnakepitError:
    """What a client's call fails with."""
    link = await ByHand(channel).open(lane=True)
    with link.lane():
        bulk = sdk_bulk.Bulk(await asyncio.to_thread(link.lane, link.welcome.lane.bulk_ticket))
        await bulk.write(sdk_bulk.OPEN | sdk_bulk.LAST, opening)
        kind, status = await bulk.read()
        bulk.abort()
    assert kind == sdk_bulk.FAILED
    assert isinstance(status, bytes)
    return from_rpc_error(sdk_bulk.LaneBroken.said(status))


async def test_one_link_has_so_many_bulk_lanes_and_for_one_more_the_one_without_a_call_is_hung_up(channel: grpc.aio.Channel) -> None:
    link = await ByHand(channel).open(lane=True)
    with contextlib.ExitStack() as lanes:
        lanes.enter_context(link.lane())
        bulk = link.welcome.lane.bulk_ticket
        made = [lanes.enter_context(await asyncio.to_thread(link.lane, bulk)) for _ in range(bulk_lanes.MOST_OF_A_LINK + 1)]
        assert await asyncio.to_thread(hung_up, made[0])
        made[1].settimeout(0.01)
        with pytest.raises(TimeoutError):
            made[1].recv(1)


@pytest.mark.parametrize(("limit", "links"), [("MOST_OF_A_LINK", 1), ("MOST_OF_A_CALLER", 2), ("MOST_LANES", 2)])
async def test_where_each_bulk_lane_has_a_call_who_comes_then_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch, limit: str, links: int
) -> None:
    for name in ("MOST_OF_A_LINK", "MOST_OF_A_CALLER", "MOST_LANES"):
        monkeypatch.setattr(bulk_lanes, name, 4 if name == limit else 1000)
    opening = link_pb2.FromClient(call=called("hang")).SerializeToString()
    async with replica() as running, simulated_agent(running.address, workers=2) as agent, attacker(running) as opened:
        made = [await ByHand(opened).open(lane=True) for _ in range(links)]
        with contextlib.ExitStack() as lanes:
            for link in made:
                lanes.enter_context(await asyncio.to_thread(link.lane))
            tickets = [made[number % links].welcome.lane.bulk_ticket for number in range(4)]
            busy = [lanes.enter_context(await asyncio.to_thread(made[0].lane, each)) for each in tickets]
            for each in busy:
                each.sendall(struct.pack("<IB", len(opening), sdk_bulk.OPEN | sdk_bulk.LAST) + opening)
            await eventually(lambda: running.flow.calls.count == 4)
            one_more = lanes.enter_context(socket.create_connection(("127.0.0.1", running.lanes.port), 10))
            one_more.sendall(tickets[0])
            assert await asyncio.to_thread(hung_up, one_more)
            busy[3].close()
            await eventually(lambda: running.links.bulk.count == 3)
            lanes.enter_context(await asyncio.to_thread(made[0].lane, tickets[0]))
        agent.let_go()


async def test_a_bulk_lane_on_which_nothing_happens_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_lanes, "IDLE_SECONDS", 0.2)
    async with replica() as running, attacker(running) as opened:
        link = await ByHand(opened).open(lane=True)
        main, idle = [await asyncio.to_thread(link.lane, ticket) for ticket in (b"", link.welcome.lane.bulk_ticket)]
        with main, idle:
            assert await asyncio.to_thread(hung_up, idle)


@pytest.mark.parametrize("kind", ["lane", "bulk lane"])
async def test_a_message_that_is_not_finished_in_time_ends_its_lane(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(sdk_lane if kind == "lane" else sdk_bulk, "UNFINISHED_SECONDS", 0.3)
    async with replica() as running, attacker(running) as opened:
        link = await ByHand(opened).open(lane=True)
        main, bulk = [await asyncio.to_thread(link.lane, ticket) for ticket in (b"", link.welcome.lane.bulk_ticket)]
        head = MIB.to_bytes(4, "little")
        with main, bulk:
            if kind == "lane":
                main.sendall(head + bytes(MIB // 2))
            else:
                bulk.sendall(head + bytes((sdk_bulk.OPEN,)) + bytes(MIB // 2))
            assert await asyncio.to_thread(hung_up, main if kind == "lane" else bulk)


async def test_a_client_that_does_not_read_is_cut_off(server: Plane, good: Caller, channel: grpc.aio.Channel) -> None:
    before = server.held
    link = await ByHand(channel).open(lane=True)
    call = called(arguments=common_pb2.Payload(data=bytes(MIB)))
    with link.lane() as lane:
        lane.setblocking(False)
        with contextlib.suppress(ConnectionError):
            for call.id in range(1, 61):
                message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=call)]).SerializeToString()
                await asyncio.get_running_loop().sock_sendall(lane, len(message).to_bytes(4, "little") + message)
        async with asyncio.timeout(20):
            while await link.stream.read() is not grpc.aio.EOF:
                continue
    assert server.held - before < 100


async def test_what_is_no_message_on_a_bulk_lane_ends_its_call_with_a_sentence(channel: grpc.aio.Channel) -> None:
    assert "no message of this method" in (await failed_on_a_bulk_lane(channel, NO_MESSAGE)).message
