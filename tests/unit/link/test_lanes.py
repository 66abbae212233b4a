"""The port of lanes: who shows a ticket there gets one, and nobody who doesn't keeps others out."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from snakepit._wire.channels import SILENT_SECONDS
from snakepit._wire.connect import dial
from snakepit_control_plane.servers import lanes as lanes_module
from support.lanes import serving, ticket_of


async def dialled(port: int, ticket: bytes) -> socket.socket | None:
    return await dial("127.0.0.1", port, ticket, 5.0)


async def hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


async def test_a_ticket_is_good_until_it_is_withdrawn_and_another_one_never() -> None:
    async with serving() as lanes:
        came, ticket = ticket_of(lanes)
        assert await dialled(lanes.port, bytes(16)) is None
        first = await dialled(lanes.port, ticket)
        assert first is not None
        assert await dialled(lanes.port, ticket) is None
        first.close()
        (await came).close()


async def test_a_connection_that_nobody_wants_is_hung_up_on() -> None:
    async with serving() as lanes:
        assert await dialled(lanes.port, lanes.ticket(lambda _: False)) is None


async def test_who_connects_and_shows_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "TICKET_SECONDS", 0.05)
    async with serving() as lanes:
        reader, writer = await asyncio.open_connection("127.0.0.1", lanes.port)
        await hung_up(reader)
        writer.close()


async def test_of_too_many_who_show_nothing_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "MOST_UNSHOWN", 1)
    async with serving() as lanes:
        came, ticket = ticket_of(lanes)
        first, writer = await asyncio.open_connection("127.0.0.1", lanes.port)
        while not lanes.unshown:
            await asyncio.sleep(0.001)
        second = await dialled(lanes.port, ticket)
        assert second is not None
        await hung_up(first)
        second.close()
        writer.close()
        (await came).close()


async def test_of_many_that_come_at_once_no_more_are_kept_than_of_those_that_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "MOST_UNSHOWN", 16)
    monkeypatch.setattr(lanes_module, "TICKET_SECONDS", 60.0)
    loop = asyncio.get_running_loop()
    async with serving() as lanes:
        crowd = [socket.create_connection(("127.0.0.1", lanes.port)) for _ in range(64)]
        for sock in crowd:
            sock.setblocking(False)
        assert await asyncio.gather(*[loop.sock_recv(oldest, 1) for oldest in crowd[:48]]) == [b""] * 48
        assert len(lanes.unshown) == 16
        for sock in crowd:
            sock.close()


async def test_of_many_that_hang_up_together_one_is_let_go_in_a_turn_of_the_loop() -> None:
    count = 60
    async with serving() as lanes:
        crowd = [socket.create_connection(("127.0.0.1", lanes.port)) for _ in range(count)]
        while len(lanes.unshown) < count:
            await asyncio.sleep(0)
        for sock in crowd:
            sock.close()
        most, since = 0, count
        while since:
            await asyncio.sleep(0)
            most, since = max(most, since - len(lanes.unshown)), len(lanes.unshown)
        assert most == 1


async def test_a_crowd_from_one_address_hangs_up_nobody_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "MOST_UNSHOWN", 4)
    async with serving() as lanes:
        came, ticket = ticket_of(lanes)
        reader, slow = await asyncio.open_connection("127.0.0.1", lanes.port, local_addr=("127.0.0.2", 0))
        slow.write(ticket[:1])
        crowd = [await asyncio.open_connection("127.0.0.1", lanes.port) for _ in range(12)]
        await asyncio.gather(*[hung_up(oldest) for oldest, _ in crowd[:8]])
        slow.write(ticket[1:])
        assert await reader.readexactly(len(ticket)) == ticket
        for writer in (slow, *[each for _, each in crowd]):
            writer.close()
        (await came).close()


async def test_a_connection_that_can_not_be_taken_now_leaves_the_port_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "SHORT_SECONDS", 0.01)
    loop, fails = asyncio.get_running_loop(), [OSError(24, "Too many open files")]
    accept = loop.sock_accept

    async def short(listener: socket.socket) -> object:
        if fails:
            raise fails.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", short)
    async with serving() as lanes:
        came, ticket = ticket_of(lanes)
        sock = await dialled(lanes.port, ticket)
        assert sock is not None
        assert not fails
        sock.close()
        (await came).close()


async def test_both_ends_of_an_idle_lane_find_out_whether_the_other_is_there_as_soon_as_a_stream_does() -> None:
    async with serving() as lanes:
        came, ticket = ticket_of(lanes)
        ours = await dialled(lanes.port, ticket)
        assert ours is not None
        for sock in (ours, await came):
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            idle, every, times = (
                sock.getsockopt(socket.IPPROTO_TCP, each) for each in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle + times * every <= SILENT_SECONDS
            sock.close()
