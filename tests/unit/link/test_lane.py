"""Links on lanes: frames take one in both directions and in order, and a link without one works all the same."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
import pytest

from snakepit._wire import Dialer, Link, LinkClosed
from snakepit._wire import dial as dial_module
from snakepit._wire import lane as lane_module
from snakepit._wire import link as link_module
from snakepit._wire.channels import LONGEST_BYTES
from snakepit._wire.dial import Lanes as Wish
from snakepit._wire.dial import Replica
from snakepit._wire.lane import Lane
from snakepit._wire.protocol import NEWEST
from snakepit._wire.stream_lane import StreamLane
from snakepit.v1 import common_pb2, link_pb2, link_pb2_grpc
from snakepit_control_plane.servers.lanes import Lanes
from support.gate import Gate, gate
from support.lanes import serving, ticket_of
from support.ports import free_port


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who doesn't reach a lane in half a second does without: a busy machine stands still for longer."""
    monkeypatch.setitem(dial_module.LANE_SECONDS, Wish.WANTED, 20.0)


class Echo(link_pb2_grpc.LinkServiceServicer):
    """A replica's end: answers every Call with a Result of the same size. `offered`: the port that a Welcome names, if not the true one."""

    def __init__(self, lanes: Lanes, offered: int | None = None) -> None:
        self.lanes = lanes
        self.offered = offered
        self.batches: list[int] = []
        self.links: list[Link] = []
        self.closed: list[str] = []

    async def Link(self, request_iterator, context):  # noqa: N802
        await context.read()
        came, ticket = ticket_of(self.lanes)
        lane = link_pb2.Lane(port=self.lanes.port if self.offered is None else self.offered, ticket=ticket)
        welcome = link_pb2.Welcome(protocol=NEWEST, replica="r1", max_payload_bytes=1, lane=lane)
        link = Link(self.on_frames, name="echo")
        link.send(result(0))
        await context.write(link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)]))
        self.links.append(link)
        said_here = asyncio.ensure_future(context.read())
        await asyncio.wait((came, said_here), return_when=asyncio.FIRST_COMPLETED)
        if came.done():
            link.use(await Lane.on(came.result()), said_here)
        else:
            link.use(StreamLane(context.read, context.write, link_pb2.LinkResponse))
        try:
            await link.run()
        finally:  # Cancelled, where the client hangs up first.
            self.closed.append(link.close_reason)

    def on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        self.batches.append(len(frames))
        for frame in frames:
            link.send(result(frame.call.id, len(frame.call.arguments.data)))


def call(id_: int, size: int = 0) -> link_pb2.Frame:
    return link_pb2.Frame(call=link_pb2.Call(id=id_, arguments=common_pb2.Payload(data=b"x" * size)))


def result(id_: int, size: int = 0) -> link_pb2.Frame:
    return link_pb2.Frame(result=link_pb2.Result(id=id_, payload=common_pb2.Payload(data=b"x" * size)))


class Client:
    """What a Dialer reports."""

    def __init__(self, port: int) -> None:
        self.opened: list[Replica] = []
        self.closed: list[str] = []
        self.ids: list[int] = []
        self.dialer = Dialer(f"127.0.0.1:{port}", lambda _: link_pb2.Hello(), self.on_frames, self.on_open, self.on_close)

    def on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        self.ids.extend(frame.result.id for frame in frames)

    def on_open(self, replica: Replica) -> None:
        self.opened.append(replica)

    def on_close(self, replica: Replica, reason: str) -> None:
        self.closed.append(reason)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.002)

    @property
    def link(self) -> Link:
        return self.opened[-1].link


@asynccontextmanager
async def linked_with(echo: Echo) -> AsyncIterator[Client]:
    server = grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(echo, server)
    client = Client(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    client.dialer.start()
    try:
        await client.until(lambda: bool(client.opened))
        yield client
    finally:
        await client.dialer.stop()
        await server.stop(0)
        del server
        gc.collect()  # grpc.aio wants its servers to be forgotten while their loop runs.


@asynccontextmanager
async def linked(offered: int | None = None) -> AsyncIterator[tuple[Echo, Client]]:
    async with serving() as lanes, linked_with(echo := Echo(lanes, offered)) as client:
        yield echo, client


@asynccontextmanager
async def linked_through_a_gate() -> AsyncIterator[tuple[Echo, Client, Gate]]:
    """The lane goes through it, the stream doesn't."""
    async with serving() as lanes, gate(lanes.port) as wire, linked_with(echo := Echo(lanes, wire.port)) as client:
        yield echo, client, wire


async def flood(link: Link) -> None:
    """Raises LinkClosed."""
    for id_ in range(1000):
        link.send(call(id_, size=lane_module.UNSENT_BYTES // 4))
        await asyncio.sleep(0)


async def test_frames_take_the_lane_together_and_in_order_what_was_said_before_it_too() -> None:
    async with linked() as (echo, client):
        for id_ in range(1, link_module.EAGER):
            client.link.send(call(id_))
        await client.until(lambda: len(client.ids) == link_module.EAGER)
        assert client.ids == list(range(link_module.EAGER))
        assert echo.batches == [link_module.EAGER - 1]
        assert echo.links[0].transport == client.link.transport == "lane"


async def test_many_frames_leave_before_the_turn_ends_in_growing_groups_and_large_ones_one_by_one() -> None:
    few = link_module.EAGER
    async with linked() as (echo, client):
        for id_ in range(1, 4 * few + 1):
            client.link.send(call(id_))
        for id_ in range(100, 103):
            client.link.send(call(id_, size=link_module.MESSAGE_BYTES))
        await client.until(lambda: len(client.ids) == 4 * few + 4)
        assert echo.batches == [few, 2 * few, few, 1, 1, 1]
        assert client.ids == sorted(client.ids)


async def test_each_turn_of_the_loop_begins_with_a_small_group_again() -> None:
    few = link_module.EAGER
    async with linked() as (echo, client):
        for turn in range(2):
            for id_ in range(1, 3 * few + 1):
                client.link.send(call(turn * 3 * few + id_))
            await asyncio.sleep(0)
        await client.until(lambda: len(client.ids) == 6 * few + 1)
        assert echo.batches == [few, 2 * few] * 2


async def test_where_the_lane_can_not_be_reached_frames_stay_on_the_stream() -> None:
    async with linked(offered=free_port()) as (echo, client):
        client.link.send(call(7))
        await client.until(lambda: client.ids == [0, 7])
        assert echo.links[0].transport == client.link.transport == "stream"


async def test_where_something_else_answers_at_the_lanes_port_frames_stay_on_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dial_module.LANE_SECONDS, Wish.WANTED, 0.1)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()

    silent = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with silent, linked(offered=silent.sockets[0].getsockname()[1]) as (_, client):
        client.link.send(call(7))
        await client.until(lambda: client.ids == [0, 7])


async def test_a_broken_lane_is_the_end_of_its_link_which_is_dialled_anew() -> None:
    async with linked_through_a_gate() as (echo, client, wire):
        wire.cut()
        await client.until(lambda: len(client.opened) == 2)
        client.link.send(call(7))
        await client.until(lambda: client.ids[-1:] == [7])
        await client.until(lambda: len(client.closed) == len(echo.closed) == 1)
        assert "lane" in client.closed[0]


@pytest.mark.parametrize(
    ("junk", "why"),
    [
        (struct.pack("<I", 1 << 31), f"a message of {1 << 31} bytes is over the limit of {LONGEST_BYTES}"),
        (struct.pack("<I", 4) + b"\xff\xff\xff\xff", "what came is no message: "),
    ],
    ids=["too long", "no message"],
)
async def test_what_is_no_message_ends_the_link_and_says_why(junk: bytes, why: str) -> None:
    async with linked_through_a_gate() as (echo, client, wire):
        wire.say(junk)
        await client.until(lambda: bool(client.closed and echo.closed))
        assert why in echo.closed[0]


@pytest.mark.parametrize("number", range(20))
async def test_the_last_frames_before_a_close_are_read_by_the_peer(number: int) -> None:
    async with linked() as (echo, client):
        for id_ in range(50):
            client.link.send(call(id_, size=10_000))
        client.link.close("done")
        await client.until(lambda: bool(client.closed))
        assert sum(echo.batches) == 50
        assert client.closed == ["done"]


async def test_a_frame_that_cannot_be_handled_closes_the_link_and_no_later_one_is() -> None:
    class Broken(Echo):
        def on_frames(self, link: Link, frames: Sequence[link_pb2.Frame]) -> None:
            super().on_frames(link, frames)
            raise ValueError("boom")

    async with serving() as lanes, linked_with(echo := Broken(lanes)) as client:
        for id_ in range(2 * link_module.EAGER):
            client.link.send(call(id_))
        await client.until(lambda: bool(client.closed and echo.closed))
        assert "boom" in echo.closed[0]
        assert len(echo.batches) == 1


async def test_what_a_peer_does_not_read_is_kept_together_and_then_the_link_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "OUTBOX_BYTES", 3 * lane_module.UNSENT_BYTES)
    async with linked_through_a_gate() as (_, client, wire):
        wire.swallow()
        with pytest.raises(LinkClosed, match="unread"):
            await flood(client.link)
        kept = len(client.link.unwritten)
        assert kept, "what was kept provably did not arrive"
        await client.until(lambda: bool(client.closed))
        assert len(client.link.unwritten) == kept, "what somebody doesn't read is work for nobody: it isn't written as a farewell either"
