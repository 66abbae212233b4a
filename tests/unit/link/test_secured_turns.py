"""TLS on a lane's connection keeps nobody: new keys without end, and records of one byte, take their turns as all else does."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import pytest

from snakepit._wire import lane as lane_module
from snakepit._wire.bulk import MESSAGE, PIECE, Bulk, LaneBroken, Piece
from snakepit._wire.lane import Lane
from snakepit._wire.secured import (
    IDLE_BYTES,
    RECORD_WORK_BYTES,
    SLICE_RECORDS,
    STRANGERS_BYTES,
    STRANGERS_IDLE_BYTES,
    TURN_BYTES,
    Secured,
    SecuredTransport,
)
from snakepit.v1 import link_pb2
from support.authority import Authority
from support.eager import UVLOOP_READS, Eager
from support.new_keys import ask_for_new_keys
from support.secured import content, ends, unread

KEY_BYTES = 27
"""A record that asks for new keys, and one that answers."""


@pytest.mark.parametrize("kind", ["lane", "bulk"])
async def test_who_asks_for_new_keys_without_end_is_hung_up_on_and_keeps_nobody(authority: Authority, kind: str) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        dialled, other = made
        ended = (await Lane.on(other)).ended if kind == "lane" else asyncio.ensure_future(Bulk(other).read())
        loop, longest = asyncio.get_running_loop(), 0.0
        for _ in range(2000):
            with contextlib.suppress(OSError):
                ask_for_new_keys(dialled.tls, 200)
                dialled.sock.send(dialled.outgoing.read())
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)
            if ended.done():
                break
        assert ended.done()
        assert isinstance(ended.exception(), LaneBroken | ConnectionError) if kind == "bulk" else ended.result()
        assert longest < 5
        assert other.outgoing.pending < 200_000


@pytest.mark.parametrize("kind", ["lane", "bulk"])
@pytest.mark.parametrize("between", [0, 1, 1000], ids=["nothing", "a byte", "1000 bytes"])
async def test_new_keys_are_few_however_much_is_said_between_them(authority: Authority, kind: str, between: int) -> None:
    """Each is 17 us. Those that one read may bring took 70 ms, or 150 with a little between them."""
    message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=link_pb2.Call(id=7, call_id="x" * between))]).SerializeToString()
    part = struct.pack("<I", len(message)) + message if kind == "lane" else struct.pack("<IB", between, MESSAGE) + bytes(between)
    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        ended = await until_hung_up(kind, other)
        for _ in range(20):
            ask_for_new_keys(dialled.tls, 400)
            if between:
                dialled.tls.write(part)
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(dialled.sock, dialled.outgoing.read())
        await ended
        assert other.outgoing.pending <= IDLE_BYTES + 2 * SLICE_RECORDS * KEY_BYTES


async def until_hung_up(kind: str, other: Secured) -> asyncio.Future[object]:
    if kind == "lane":
        lane = await Lane.on(other)
        lane.attach(lambda _: None, lambda: None)
        return lane.ended  # type: ignore[return-value]
    bulk = Bulk(other)

    async def read() -> None:
        with contextlib.suppress(LaneBroken):
            while True:
                await bulk.read()

    return asyncio.create_task(read())


async def test_who_has_shown_no_ticket_gets_few_new_keys_and_a_few_at_a_time(authority: Authority) -> None:
    """Each is 17 us of the loop's time, and so far nobody has shown a token."""
    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        ask_for_new_keys(dialled.tls, 1000)
        asked = dialled.outgoing.read()
        await asyncio.get_running_loop().sock_sendall(dialled.sock, asked)
        while unread(other.sock) < len(asked):
            await asyncio.sleep(0.001)
        left, most = len(asked), 0
        heard = asyncio.create_task(other.receive(16))
        while not heard.done():
            await asyncio.sleep(0)
            now = unread(other.sock)
            left, most = now, max(most, left - now)
        assert await heard == b"", "it is hung up on"
        assert 0 < most <= STRANGERS_BYTES
        assert len(asked) - left <= STRANGERS_IDLE_BYTES + STRANGERS_BYTES


async def test_a_turn_takes_one_read_of_a_lane_also_of_records_of_one_byte(authority: Authority) -> None:
    """Each read of those is 9 ms of the loop's time, and they make up less than a turn's bytes for a long while."""
    message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=link_pb2.Call(id=7, call_id="x" * 30_000))]).SerializeToString()
    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        for byte in struct.pack("<I", len(message)) + message:
            dialled.tls.write(bytes([byte]))
        lane, came = lane_module.Lane(), asyncio.get_running_loop().create_future()
        lane.attach(lambda frames: came.set_result(frames[0].call.id), lambda: None)
        transport = Eager(SecuredTransport(other, lane, lane.came), dialled.outgoing.read())
        transport.pour()
        assert await came == 7
        assert max(transport.read) == UVLOOP_READS


class Kept(asyncio.Protocol):
    """`parts`: what came, each time."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parts.append(data)


async def test_what_comes_in_one_read_goes_on_in_one_go(authority: Authority) -> None:
    """Or a lane would begin a turn anew with each part of it."""
    async with ends(authority) as (dialled, other):
        dialled.tls.write(content(200_000))
        kept, read, sealed = Kept(), list[int](), dialled.outgoing.read()
        Eager(SecuredTransport(other, kept, read.append), sealed).pour()
        assert kept.parts == [content(200_000)]
        assert read[-1] == len(sealed) < UVLOOP_READS


async def test_whoever_reads_records_of_one_byte_on_a_bulk_lane_lets_others_have_their_turns(authority: Authority) -> None:
    """A turn's bytes of content, in such records, would be a second of the loop's time."""
    size, turns = 80_000, 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        for byte in struct.pack("<IB", size, PIECE) + bytes(size):
            dialled.tls.write(bytes([byte]))
        await asyncio.get_running_loop().sock_sendall(dialled.sock, dialled.outgoing.read())
        kind, piece = await Bulk(other).read()
        assert kind == PIECE
        assert isinstance(piece, Piece)
        beside = asyncio.create_task(others())
        await asyncio.sleep(0)
        room, most = memoryview(bytearray(size)), 0
        while piece.left:
            most = max(most, await piece.some(room))
        beside.cancel()
        assert most <= TURN_BYTES // RECORD_WORK_BYTES
        assert turns


async def test_new_keys_now_and_then_and_records_of_one_byte_harm_nobody(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        one, other = (Bulk(each) for each in made)
        for number in range(2000):
            if number % 100 == 0:
                ask_for_new_keys(made[0].tls, 1)
            await one.write(MESSAGE, b"x")
            assert await other.read() == (MESSAGE, b"x")
            if number % 100 == 0:
                await other.write(MESSAGE, b"y")
                assert await one.read() == (MESSAGE, b"y")
        for part in [bytes((byte,)) for byte in struct.pack("<IB", 20_000, MESSAGE) + content(20_000)]:
            while True:
                try:
                    made[0].send(part)
                    break
                except BlockingIOError:
                    await asyncio.sleep(0)
        assert await other.read() == (MESSAGE, content(20_000))
