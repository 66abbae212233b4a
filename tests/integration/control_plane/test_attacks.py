"""Single messages that are built to be dear: each is refused with a sentence, and nobody else's calls fail for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2

from snakepit._wire import bulk as sdk_bulk
from snakepit._wire import lane as sdk_lane
from snakepit._wire.channels import LONGEST_BYTES
from snakepit._wire.status import from_frame, from_rpc_error
from snakepit.errors import InvalidArguments, PayloadTooLarge, SnakepitError, ToolQuota
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, router_pb2, session_pb2
from snakepit_control_plane.servers import bulk as bulk_lanes
from snakepit_control_plane.servers.rpc import INLINE_BYTES, convert
from support.attack import MIB, ByHand, Plane, attacker, called, hung_up, plane, refused, victim
from support.control_plane import Caller, eventually, replica, rpc
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent

pytestmark = pytest.mark.timeout(60)

MOST_GROWTH = 400
"""MiB, of a replica: one message, parsed."""

MOST_SAID = 1200
"""Characters of a refusal."""


@pytest.fixture(scope="module")
def server() -> Iterator[Plane]:
    with plane() as running:
        yield running


@pytest.fixture
async def good(server: Plane) -> AsyncIterator[Caller]:
    """It is calling all the time; at the test's end each of its calls must have succeeded, and the replica not have grown."""
    before = server.rss
    async with victim(server) as caller:
        yield caller
    assert server.rss - before < MOST_GROWTH


@pytest.fixture
async def channel(server: Plane, good: Caller) -> AsyncIterator[grpc.aio.Channel]:
    async with attacker(server) as opened:
        yield opened


@pytest.fixture
async def bad(channel: grpc.aio.Channel) -> Caller:
    return Caller(channel)


def executing(**fields: Any) -> router_pb2.ExecuteRequest:
    return router_pb2.ExecuteRequest(**{"pool": POOL, "tool": "echo", **fields})


def attachments(count: int) -> common_pb2.Payload:
    return common_pb2.Payload.FromString(b"\x1a\x00" * count)


def nulls(count: int) -> struct_pb2.Struct:
    values = struct_pb2.ListValue.FromString(b"\x0a\x02\x08\x00" * count)
    return struct_pb2.Struct(fields={"values": struct_pb2.Value(list_value=values)})


LONG = "x" * 2 * MIB

UNARY: dict[str, tuple[Callable[[], router_pb2.ExecuteRequest], str]] = {
    "attachments": (lambda: executing(payload=attachments(2 * MIB)), "2097152 attachments, 10000 is the most"),
    "values": (lambda: executing(json=nulls(MIB)), "too many values, 250000 values is the most"),
    "metadata": (lambda: executing(metadata={str(n): "" for n in range(100_000)}), "metadata of the call have"),
    "large metadata": (lambda: executing(metadata={"a": LONG}), "65536 is the most"),
    "tool": (lambda: executing(tool=LONG), "65536 is the most"),
    "long pool": (lambda: executing(pool=LONG), "is not a pool's name"),
    "session": (lambda: executing(session_id=LONG), "65536 is the most"),
}


@pytest.mark.parametrize("deed", UNARY)
async def test_a_plain_call_with_too_much_of_a_thing_is_refused(bad: Caller, deed: str) -> None:
    request, sentence = UNARY[deed]
    error = await refused(bad.router.Execute(request()))
    assert isinstance(error, InvalidArguments)
    assert sentence in error.message
    assert len(error.message) < MOST_SAID


async def test_a_tool_or_session_of_a_name_over_the_maximum_is_refused_in_a_short_sentence(bad: Caller) -> None:
    long = "x" * 50_000
    for request in (executing(tool=long), executing(session_id=long)):
        error = await refused(bad.router.Execute(request))
        assert "xxx…'" in error.message
        assert len(error.message) < 500
    error = await refused(bad.sessions.GetSession(session_pb2.GetSessionRequest(pool=POOL, session_id=LONG)))
    assert len(error.message) < 500
    error = await refused(bad.pools.DrainWorker(pool_pb2.DrainWorkerRequest(pool=POOL, worker=LONG)))
    assert len(error.message) < 500


async def test_a_message_over_the_limit_is_not_read(bad: Caller) -> None:
    request = executing(payload=common_pb2.Payload(data=bytes(LONGEST_BYTES)))
    error = await refused(bad.router.Execute(request))
    assert isinstance(error, PayloadTooLarge)


async def test_a_payload_over_max_payload_bytes_is_told_so(bad: Caller) -> None:
    error = await refused(bad.router.Execute(executing(payload=common_pb2.Payload(data=bytes(4 * MIB + 1)))))
    assert "maxPayloadBytes allows 4194304" in error.message


async def test_a_result_of_too_many_values_has_no_json_form_and_its_payload_has(bad: Caller) -> None:
    zeros = json.dumps([0] * 500_000).encode()
    await rpc(bad.sessions.CreateSession(session_pb2.CreateSessionRequest(pool=POOL, session_id="zeros")))
    value = common_pb2.Value(payload=common_pb2.Payload(data=zeros[: len(zeros) // 2].rpartition(b",")[0] + b"]"))
    key = {"pool": POOL, "session_id": "zeros", "key": "k"}
    await rpc(bad.sessions.SetState(session_pb2.SetStateRequest(value=value, **key)))
    found = await rpc(bad.sessions.GetState(session_pb2.GetStateRequest(as_payload=True, **key)))
    assert found.value.payload.data == value.payload.data
    error = await refused(bad.sessions.GetState(session_pb2.GetStateRequest(**key)))
    assert "too many values" in error.message


async def test_a_large_conversion_lets_the_loop_turn() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    count = await convert(INLINE_BYTES + 1, lambda: sum(math.isqrt(n) > 0 for n in range(1_000_000)))
    turning.cancel()
    assert count == 999_999
    assert turns > 10


# ---- links


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
    before, size = server.rss, server.log.stat().st_size
    for number in range(60):  # 240 MiB, if they were remembered; what is freed stays the process' in part
        hello = link_pb2.Hello(protocol=1, role=link_pb2.ROLE_AGENT, version=f"{number}{LONG}", capsule=link_pb2.Capsule(name=LONG))
        link = ByHand(channel)
        await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(hello=hello)]))
        error = await refused(read_out(link.stream))
        assert error.message.endswith(f"hello.version has {len(LONG) + len(str(number))} characters, 253 is the most")
    assert server.rss - before < 180
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


async def test_one_link_has_so_many_bulk_lanes_and_no_more(channel: grpc.aio.Channel) -> None:
    link = await ByHand(channel).open(lane=True)
    with contextlib.ExitStack() as lanes:
        lanes.enter_context(link.lane())
        bulk = link.welcome.lane.bulk_ticket
        for _ in range(bulk_lanes.MOST_OF_A_LINK):
            lanes.enter_context(await asyncio.to_thread(link.lane, bulk))
        one_more = lanes.enter_context(socket.create_connection(("127.0.0.1", link.welcome.lane.port), 10))
        one_more.sendall(bulk)
        assert await asyncio.to_thread(hung_up, one_more)


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
    before = server.rss
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
    assert server.rss - before < 200


# ---- what waits

SLOW = "default/slow"


@contextlib.asynccontextmanager
async def slow(server: Plane) -> AsyncIterator[SimulatedAgent]:
    """Another pool, whose one worker is taken."""
    async with (
        simulated_agent(server.address, name="slow-0", pool=SLOW) as agent,
        grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        first = Caller(channel).start("hang", pool=SLOW)
        await eventually(lambda: agent.running)
        yield agent
        agent.let_go()
        assert (await first).json.string_value == "late"


async def until_deep(caller: Caller, depth: int) -> None:
    """Until so many calls of it wait."""
    async with asyncio.timeout(20):
        while (await rpc(caller.pools.GetPool(pool_pb2.GetPoolRequest(pool=SLOW)))).pool.queue_depth < depth:
            await asyncio.sleep(0.01)


async def test_calls_that_wait_hold_so_many_bytes_and_half_of_them_may_be_one_callers() -> None:
    with plane(SNAKEPIT_MAX_WAITING_BYTES=str(130 * MIB)) as small:
        before = small.rss
        async with victim(small) as good, attacker(small) as channel, slow(small) as agent:
            bad, refusals = Caller(channel), list[SnakepitError]()
            large = executing(pool=SLOW, tool="hang", payload=common_pb2.Payload(data=bytes(4 * MIB)))

            async def call() -> None:
                try:
                    await rpc(bad.router.Execute(large, timeout=30))
                except SnakepitError as error:
                    refusals.append(error)

            calls = [asyncio.create_task(call()) for _ in range(4)]
            await until_deep(bad, 4)
            for _ in range(26):
                await call()
            assert len(refusals) == 26
            assert {error.details["limit"] for error in refusals} == {"maxWaitingBytes"}
            assert "half of it to one caller" in refusals[0].message
            assert small.rss - before < 300
            other = good.start("hang", {"text": "x" * 10_000}, pool=SLOW)
            agent.let_go()
            await other
            await asyncio.gather(*calls)
            assert len(refusals) == 26
            await asyncio.gather(*[call() for _ in range(4)])
            assert len(refusals) == 26


async def test_what_came_with_a_call_that_waits_does_not_stay_with_it(server: Plane, channel: grpc.aio.Channel) -> None:
    async with slow(server):
        before = server.rss
        link = await ByHand(channel).open()
        beside = link_pb2.Frame(progress=link_pb2.Progress(message="x" * MIB))
        for number in range(1, 301):
            call = link_pb2.Call(id=number, call_id=str(number), pool=SLOW, tool="hang", arguments=common_pb2.Payload(data=b"{}"))
            await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(call=call), beside]))

        await until_deep(Caller(channel), 300)
        assert server.rss - before < 100


# ---- what is no message

NO_MESSAGE = b"\xff" * 100
UNREADABLE = {
    "RouterService/Execute": "unary",
    "RouterService/ExecuteStream": "stream",
    "PoolService/GetPool": "unary",
    "SessionService/GetState": "unary",
    "ToolService/ListTools": "unary",
    "LinkService/Link": "both",
    "FleetService/Sync": "both",
    "/grpc.health.v1.Health/Check": "unary",
    "/grpc.health.v1.Health/Watch": "stream",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "both",
}


@pytest.mark.parametrize("method", UNREADABLE)
async def test_what_is_no_message_is_an_invalid_argument_and_no_line_of_the_log(
    server: Plane, channel: grpc.aio.Channel, method: str
) -> None:
    path = method if method.startswith("/") else f"/snakepit.v1.{method}"
    before = len(server.lines)
    for _ in range(20):
        assert await code(channel, path, UNREADABLE[method]) is grpc.StatusCode.INVALID_ARGUMENT
    assert len(server.lines) - before <= 1


async def code(channel: grpc.aio.Channel, path: str, kind: str) -> grpc.StatusCode:
    call: Any
    if kind == "unary":
        call = channel.unary_unary(path)(NO_MESSAGE)
    elif kind == "stream":
        call = channel.unary_stream(path)(NO_MESSAGE)
    else:
        call = channel.stream_stream(path)()
        await call.write(NO_MESSAGE)
    async with asyncio.timeout(20):
        found: grpc.StatusCode = await call.code()
    return found


async def test_what_is_no_message_on_a_bulk_lane_ends_its_call_with_a_sentence(channel: grpc.aio.Channel) -> None:
    assert "no message of this method" in (await failed_on_a_bulk_lane(channel, NO_MESSAGE)).message
