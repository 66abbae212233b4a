"""Bulk lanes of one end share the loop: of those on which much has come at the same time, one at a time goes on after its turn."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from snakepit._wire.bulk import PIECE, TURN_BYTES, Bulk, Piece
from snakepit._wire.turns import Turns
from support.secured import unread

SIZE = 3 * TURN_BYTES


async def received(lane: Bulk, moved: list[int]) -> None:
    _, piece = await lane.read()
    assert isinstance(piece, Piece)
    room = memoryview(bytearray(SIZE))
    while piece.left:
        size = await piece.some(room)
        moved[-1] += size


async def test_lanes_on_which_much_has_come_go_on_one_at_a_time_and_all_of_them_come_to_an_end() -> None:
    count, turns, moved = 8, Turns(), [0]
    with contextlib.ExitStack() as closing:
        pairs = [[closing.enter_context(each) for each in socket.socketpair()] for _ in range(count)]
        lanes = [Bulk(here, turns) for _, here in pairs]
        for there, _ in pairs:
            there.setblocking(False)
            there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * SIZE)
        writing = [asyncio.create_task(Bulk(there).write(PIECE, bytes(SIZE))) for there, _ in pairs]
        while min(unread(here) for _, here in pairs) < TURN_BYTES:
            await asyncio.sleep(0)
        reading = [asyncio.create_task(received(each, moved)) for each in lanes]
        async with asyncio.timeout(30):
            while not all(each.done() for each in reading):
                moved.append(0)
                await asyncio.sleep(0)
        await asyncio.gather(*reading, *writing)
        assert sum(moved) == count * SIZE
        most = TURN_BYTES + SIZE  # A turn ends after the read that brings it to an end.
        assert max(moved[count:]) <= most
        for lane in lanes:
            lane.abort()
