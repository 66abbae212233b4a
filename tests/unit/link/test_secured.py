"""TLS on a lane's connection: all comes whole and in order, a slow reader holds the writer back, and no tampering gets by."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from snakepit._wire import turns as turns_module
from snakepit._wire.bulk import MESSAGE, PIECE, Bulk, LaneBroken, Piece
from snakepit._wire.connect import accept, dial
from snakepit._wire.lane import Lane
from snakepit._wire.secured import Secured
from snakepit.v1 import link_pb2
from support.authority import Authority
from support.secured import TICKET, content, ends

MIB = 1024 * 1024


@pytest.mark.parametrize("seed", range(5))
async def test_pieces_of_any_size_come_whole_and_in_order_in_both_directions(authority: Authority, seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([0, 1, 5, 16_384, 16_385, 65_536, 200_000, 3 * MIB]) + chance.randrange(100) for _ in range(12)]

    async def write(lane: Bulk) -> None:
        for size in sizes:
            await lane.write(PIECE if size > 50_000 else MESSAGE, os.urandom(0), content(size)[: size // 2], content(size)[size // 2 :])

    async def read(lane: Bulk) -> None:
        for size in sizes:
            kind, message = await lane.read()
            if isinstance(message, Piece):
                assert (kind, message.size) == (PIECE, size)
                message = await whole(message)
            assert message == content(size)

    async with ends(authority) as made, asyncio.timeout(30):
        lanes = [Bulk(each) for each in made]
        await asyncio.gather(*map(write, lanes), *map(read, lanes))
        assert all(each.is_quiet for each in lanes)


async def whole(piece: Piece) -> bytes:
    found, room = bytearray(), memoryview(bytearray(100_000))
    while piece.left:
        size = await piece.some(room)
        found += room[:size]
    return bytes(found)


async def test_a_piece_from_a_file_comes_whole_and_a_file_that_is_too_short_ends_the_lane(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(2 * MIB))
    async with ends(authority) as made, asyncio.timeout(30):
        one, other = (Bulk(each) for each in made)
        with path.open("rb") as file:
            writing = asyncio.create_task(one.write_file(file.fileno(), 100, MIB))
            _, piece = await other.read()
            assert isinstance(piece, Piece)
            assert await whole(piece) == content(2 * MIB)[100 : 100 + MIB]
            await writing
            writing = asyncio.create_task(one.write_file(file.fileno(), 2 * MIB - 10, 100))
            _, piece = await other.read()
            with pytest.raises(OSError, match="less than it said"):
                await writing


async def test_what_is_not_read_holds_the_writer_back(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        one, other = (Bulk(each) for each in made)
        one.patience = 0.2
        with pytest.raises(TimeoutError):
            await one.write(PIECE, bytes(64 * MIB))
        with pytest.raises(LaneBroken):
            await one.write(MESSAGE, b"after a message that was cut off")
        assert (await other.read())[0] == PIECE


async def test_a_write_that_is_given_up_before_anything_was_sent_leaves_no_half_message(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        one, other = (Bulk(each) for each in made)
        first = asyncio.create_task(one.write(PIECE, bytes(16 * MIB)))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(one.write(MESSAGE, b"never"))
        await asyncio.sleep(0)
        second.cancel()
        _, piece = await other.read()
        assert isinstance(piece, Piece)
        assert len(await whole(piece)) == 16 * MIB
        await first
        await one.write(MESSAGE, b"next")
        assert await other.read() == (MESSAGE, b"next")


async def test_a_write_that_is_given_up_while_some_of_it_is_under_way_ends_the_lane(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        lane = Bulk(made[0])
        lane.patience = 0.2
        with pytest.raises(TimeoutError):
            await write_forever(lane)
        with pytest.raises(LaneBroken, match="was cut off"):
            await lane.write(MESSAGE, b"never")


async def write_forever(lane: Bulk) -> None:
    while True:
        await lane.write(MESSAGE, bytes(50_000))


async def test_what_comes_together_with_the_ticket_is_not_left_lying(authority: Authority) -> None:
    message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=link_pb2.Call(id=7))]).SerializeToString()
    came: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with ends(authority, struct.pack("<I", len(message)) + message) as made, asyncio.timeout(10):
        lane = await Lane.on(made[0])
        lane.attach(lambda frames: came.set_result(frames[0].call.id), lambda: None)
        assert await came == 7
        lane.abort()
        await lane.ended
    async with ends(authority, struct.pack("<IB", 2, MESSAGE) + b"hi") as made, asyncio.timeout(10):
        assert await Bulk(made[0]).read() == (MESSAGE, b"hi")


async def test_who_waits_for_a_call_to_be_given_up_hears_it(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        one, other = (Bulk(each) for each in made)
        await one.write(MESSAGE, b"last words")
        assert await other.read() == (MESSAGE, b"last words")
        waiting = asyncio.create_task(other.until_hangup())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        one.abort()
        await waiting


async def test_frames_on_a_lane_come_in_order_and_the_end_is_heard(authority: Authority) -> None:
    came: list[int] = []

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        came.extend(frame.call.id for frame in frames)

    async with ends(authority) as made, asyncio.timeout(30):
        one = await Lane.on(made[0])
        for number in range(300):  # Before the other end looks.
            frame = link_pb2.Frame(call=link_pb2.Call(id=number, tool="x" * (number * 100)))
            one.write(link_pb2.LinkRequest(frames=[frame]).SerializeToString())
        other = await Lane.on(made[1])
        other.attach(take, lambda: None)
        one.attach(take, lambda: None)
        finishing = asyncio.create_task(one.finish(10))
        assert await other.ended == "the peer ended the lane"
        assert came == list(range(300))
        await other.finish(1)
        await finishing


async def test_a_byte_that_was_changed_on_the_way_ends_a_lane_and_a_bulk_lane(authority: Authority) -> None:
    async with ends(authority) as made, asyncio.timeout(30):
        made[0].sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(LaneBroken):
            await Bulk(made[1]).read()
    async with ends(authority) as made, asyncio.timeout(30):
        lane = await Lane.on(made[1])
        made[0].sock.send(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert "broke" in await lane.ended


async def test_a_dialler_takes_no_certificate_of_another_name_or_of_another_ca(authority: Authority, tmp_path: Path) -> None:
    files = authority.files()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    strange = Authority(tmp_path / "other")
    for ca_file, name in ((authority.ca_file, "elsewhere"), (strange.ca_file, "localhost")):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            trusting = ssl.create_default_context(cafile=str(ca_file))
            dialling = asyncio.create_task(dial("127.0.0.1", listener.getsockname()[1], TICKET, 10, (trusting, name)))
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            with sock:
                assert (await accept(sock, 10, context))[0] == b"", "no ticket is shown"
            assert await dialling is None


def with_a_farewell(end: Secured, message: bytes, after: bytes = b"") -> bytes:
    """The message, a `close_notify`, as other implementations of TLS send it, and what comes after that, as bytes for the socket."""
    end.tls.write(message)
    with contextlib.suppress(ssl.SSLWantReadError):
        end.tls.unwrap()
    return end.outgoing.read() + after


@pytest.mark.parametrize("after", [b"", b"\x17\x03\x03\x00\x20" + bytes(32)], ids=["nothing", "another record"])
async def test_a_farewell_ends_a_lane_after_the_message_that_came_with_it_whatever_comes_later(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, after: bytes
) -> None:
    monkeypatch.setattr(turns_module, "TURN_SECONDS", 0.0)
    taken: list[int] = []

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        assert not lane.ended.done()
        taken.extend(frame.call.id for frame in frames)

    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        lane = await Lane.on(other)
        lane.attach(take, lambda: None)
        frames = [link_pb2.Frame(call=link_pb2.Call(id=number)) for number in range(200)]
        message = link_pb2.LinkRequest(frames=frames).SerializeToString()
        dialled.sock.send(with_a_farewell(dialled, struct.pack("<I", len(message)) + message, after))
        assert await lane.ended == "the peer ended the lane"
        assert taken == list(range(200))
        lane.abort()
        await asyncio.sleep(0)


async def test_a_farewell_ends_a_bulk_lane_after_the_message_that_came_with_it(authority: Authority) -> None:
    async with ends(authority) as (dialled, other), asyncio.timeout(30):
        dialled.sock.send(with_a_farewell(dialled, struct.pack("<IB", 2, MESSAGE) + b"hi"))
        lane = Bulk(other)
        assert await lane.read() == (MESSAGE, b"hi")
        with pytest.raises(LaneBroken):
            await lane.read()
