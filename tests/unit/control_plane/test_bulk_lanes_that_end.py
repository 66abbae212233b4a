"""However many bulk lanes end at the same time, each turn of the loop is for one of them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

from snakepit._wire.bulk import LAST, OPEN
from snakepit_control_plane.servers.bulk import BulkCall, BulkGroup, BulkServer, Serve

COUNT = 200


CALL = b"all that there is to say"


async def nobody_calls(call: BulkCall) -> None:
    raise AssertionError("nobody calls")


@contextlib.asynccontextmanager
async def idle_lanes(serve: Serve = nobody_calls) -> AsyncIterator[tuple[BulkServer, BulkGroup, list[socket.socket]]]:
    """A group whose lanes wait for calls, and their other ends."""
    server = BulkServer()
    group = BulkGroup(server, "link of client x", serve)
    with contextlib.ExitStack() as closing:
        pairs = [[closing.enter_context(each) for each in socket.socketpair()] for _ in range(COUNT)]
        for here, _ in pairs:
            assert group.take(here)
        await asyncio.sleep(0)
        yield server, group, [there for _, there in pairs]
        assert len(group) == 0


async def most_ended_at_once(server: BulkServer) -> int:
    most = 0
    async with asyncio.timeout(60):
        while before := server.count:
            await asyncio.sleep(0)
            most = max(most, before - server.count)
    return most


async def test_lanes_whose_other_ends_hang_up_together_end_one_in_a_turn() -> None:
    async with idle_lanes() as (server, _, others):
        for each in others:
            each.close()
        assert await most_ended_at_once(server) == 1


async def test_lanes_whose_other_ends_hang_up_while_they_wait_for_an_answer_end_one_in_a_turn() -> None:
    begun = list[BulkCall]()

    async def serve(call: BulkCall) -> None:
        begun.append(call)
        await asyncio.Event().wait()

    async with idle_lanes(serve) as (server, _, others):
        for each in others:
            each.sendall(struct.pack("<IB", len(CALL), OPEN | LAST) + CALL)
        async with asyncio.timeout(60):
            while len(begun) < COUNT:
                await asyncio.sleep(0)
        for each in others:
            each.close()
        assert await most_ended_at_once(server) == 1


async def test_lanes_of_a_link_that_ends_end_one_in_a_turn() -> None:
    async with idle_lanes() as (server, group, others):
        group.close()
        assert await most_ended_at_once(server) == 1
        assert [each.recv(1) for each in others] == [b""] * COUNT


async def test_lanes_whose_other_ends_hang_up_while_their_link_ends_are_gone_all_the_same() -> None:
    async with idle_lanes() as (server, group, others):
        group.close()
        for each in others[::2]:
            each.close()
        assert await most_ended_at_once(server) <= 2
