"""The link moves frames in order, coalesces what is queued in one turn, and never waits for ever for a peer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from snakepit._wire import Dialer, Link, LinkClosed
from snakepit._wire import lane as lane_module
from snakepit._wire import link as link_module
from snakepit._wire.channels import server_options
from snakepit._wire.dial import Lanes, Replica
from snakepit._wire.protocol import NEWEST, OURS
from snakepit._wire.status import from_frame, from_rpc_error, to_frame, to_status
from snakepit._wire.stream_lane import StreamLane
from snakepit._wire.targets import parse_target, resolve
from snakepit.errors import BY_REASON, ProtocolMismatch, Started
from snakepit.v1 import common_pb2, link_pb2, link_pb2_grpc
from support.ports import free_port


class Echo(link_pb2_grpc.LinkServiceServicer):
    """Answers Hello with Welcome and every Call with a Result; counts the messages that arrive."""

    def __init__(self, protocol: int = NEWEST) -> None:
        self.protocol = protocol
        self.batches: list[int] = []
        self.links: list[Link] = []

    async def Link(self, request_iterator, context):  # noqa: N802
        await context.read()
        welcome = link_pb2.Welcome(protocol=self.protocol, replica="r1", max_payload_bytes=1)
        await context.write(link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)]))
        await context.read()  # The client's word that it stays here.
        link = Link(self.on_frames, name="echo")
        link.use(StreamLane(context.read, context.write, link_pb2.LinkResponse))
        self.links.append(link)
        await link.run()

    def on_frames(self, link, frames):
        self.batches.append(len(frames))
        for frame in frames:
            link.send(link_pb2.Frame(result=link_pb2.Result(id=frame.call.id)))


@asynccontextmanager
async def serving(servicer: Echo, port: int = 0) -> AsyncIterator[int]:
    server = grpc.aio.server(options=server_options())
    link_pb2_grpc.add_LinkServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class Client:
    """Keeps what a Dialer reports, and wakes whoever waits for it."""

    def __init__(self, port: int, lanes: Lanes = Lanes.OFF) -> None:
        self.opened: list[Replica] = []
        self.closed: list[str] = []
        self.frames: list[link_pb2.Frame] = []
        self._changed = asyncio.Event()
        self.dialer = Dialer(f"127.0.0.1:{port}", self.hello, self.on_frames, self.on_open, self.on_close, lanes=lanes)

    def hello(self, address: str) -> link_pb2.Hello:
        return link_pb2.Hello(protocol=NEWEST, role=link_pb2.ROLE_CLIENT)

    def on_frames(self, link, frames):
        self.frames.extend(frames)
        self._changed.set()

    def on_open(self, replica: Replica) -> None:
        self.opened.append(replica)
        self._changed.set()

    def on_close(self, replica: Replica, reason: str) -> None:
        self.closed.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def dialled(port: int, lanes: Lanes = Lanes.OFF) -> AsyncIterator[Client]:
    client = Client(port, lanes)
    client.dialer.start()
    try:
        yield client
    finally:
        await client.dialer.stop()


def call(id_: int, size: int = 0) -> link_pb2.Frame:
    return link_pb2.Frame(call=link_pb2.Call(id=id_, arguments=common_pb2.Payload(data=b"x" * size)))


class EndsOnce(Echo):
    """The first link ends while its client is opening the lane that the Welcome has offered: as when a replica is killed."""

    async def Link(self, request_iterator, context):  # noqa: N802
        if self.ended.is_set():
            return await super().Link(request_iterator, context)
        await context.read()
        lane = link_pb2.Lane(host="127.0.0.1", port=self.lane_port, ticket=b"t")
        welcome = link_pb2.Welcome(protocol=NEWEST, replica="r0", max_payload_bytes=1, lane=lane)
        await context.write(link_pb2.LinkResponse(frames=[link_pb2.Frame(welcome=welcome)]))
        await self.opening.wait()
        self.ended.set()
        return None

    def __init__(self) -> None:
        super().__init__()
        self.lane_port = 0
        self.opening, self.ended = asyncio.Event(), asyncio.Event()

    async def hang_up(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opening.set()
        await self.ended.wait()
        await asyncio.sleep(0.05)  # Until the end is there.
        writer.transport.abort()


async def test_a_link_that_ends_while_its_lane_is_opened_is_dialled_again() -> None:
    """Nobody dialled that address any more, for as long as the program ran. (The storm, after an hour.)"""
    replica = EndsOnce()
    lanes = await asyncio.start_server(replica.hang_up, "127.0.0.1", 0)
    replica.lane_port = lanes.sockets[0].getsockname()[1]
    async with lanes, serving(replica) as port, dialled(port, Lanes.WANTED) as client:
        await client.until(lambda: bool(client.opened))
        assert client.opened[0].id == "r1"


class FailsOnce(Client):
    """It doesn't know at first what to say in its Hello."""

    dials = 0

    def hello(self, address: str) -> link_pb2.Hello:
        self.dials += 1
        return super().hello(address) if self.dials > 1 else 1 / 0  # type: ignore[return-value]


async def test_whatever_goes_wrong_in_a_dial_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(Echo()) as port:
        client = FailsOnce(port)
        client.dialer.start()
        await client.until(lambda: bool(client.opened))
        await client.dialer.stop()
    assert "ZeroDivisionError" in caplog.text


async def test_what_is_queued_while_a_message_is_written_is_one_message() -> None:
    echo = Echo()
    async with serving(echo) as port, dialled(port) as client:
        await client.until(lambda: bool(client.opened))
        for n in range(lane_module.AT_ONCE):
            client.opened[0].link.send(call(n))
        await client.until(lambda: len(client.frames) == lane_module.AT_ONCE)
        assert echo.batches == [link_module.EAGER, lane_module.AT_ONCE - link_module.EAGER]
        assert [f.result.id for f in client.frames] == list(range(lane_module.AT_ONCE))


async def test_a_batch_over_the_message_size_is_split_and_stays_in_order() -> None:
    echo = Echo()
    async with serving(echo) as port, dialled(port) as client:
        await client.until(lambda: bool(client.opened))
        for n in range(8):
            client.opened[0].link.send(call(n, size=link_module.MESSAGE_BYTES // 3))
        await client.until(lambda: len(client.frames) == 8)
        assert [f.result.id for f in client.frames] == list(range(8))
        assert max(echo.batches) <= 3


async def test_a_peer_that_reads_nothing_is_cut_off_instead_of_filling_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "OUTBOX_BYTES", 1000)

    link = Link(lambda *_: None)
    link.send(call(1, size=900))
    with pytest.raises(LinkClosed, match="unread"):
        link.send(call(2, size=900))
    assert not link.is_open


async def test_a_frame_that_cannot_be_handled_closes_the_link_and_says_why() -> None:
    class Broken(Echo):
        def on_frames(self, link, frames):
            raise ValueError("boom")

    echo = Broken()
    async with serving(echo) as port, dialled(port) as client:
        await client.until(lambda: bool(client.opened))
        client.opened[0].link.send(call(1))
        await client.until(lambda: bool(client.closed))
        assert "boom" in echo.links[0].close_reason


async def test_a_link_is_dialled_again_when_the_replica_is_back_and_each_end_is_told_once() -> None:
    async with serving(Echo(), free_port()) as port:
        client = Client(port)
        client.dialer.start()
        await client.until(lambda: len(client.opened) == 1)
    await client.until(lambda: len(client.closed) == 1)
    async with serving(Echo(), port):
        await client.until(lambda: len(client.opened) == 2)
        await client.dialer.stop()
    assert len(client.closed) == 2


async def test_frames_queued_while_an_earlier_message_is_being_written_are_written_before_the_close() -> None:
    written: list[int] = []
    room = asyncio.Event()

    async def read() -> None:
        await asyncio.Event().wait()

    async def write(message: link_pb2.LinkRequest) -> None:
        await room.wait()
        written.extend(frame.call.id for frame in message.frames)

    link = Link(lambda *_: None)
    link.use(StreamLane(read, write, link_pb2.LinkRequest))
    running = asyncio.create_task(link.run())
    link.send(call(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    link.send(call(2))
    link.close("done")
    room.set()
    assert await running == "done"
    assert written == [1, 2]


@pytest.mark.parametrize("why", [asyncio.InvalidStateError("it is over"), asyncio.CancelledError()], ids=repr)
async def test_a_link_whose_stream_can_be_read_no_more_ends_whatever_that_is_called(why: BaseException) -> None:
    async def read() -> None:
        raise why

    async def write(_: link_pb2.LinkRequest) -> None: ...

    link = Link(lambda *_: None)
    link.use(StreamLane(read, write, link_pb2.LinkRequest))
    assert "the stream" in await link.run()


@pytest.mark.parametrize("number", range(20))
async def test_the_last_frames_before_a_close_are_read_by_the_peer(number: int) -> None:
    echo = Echo()
    async with serving(echo) as port, dialled(port) as client:
        await client.until(lambda: bool(client.opened))
        for n in range(50):
            client.opened[0].link.send(call(n, size=10_000))
        client.opened[0].link.close("done")
        await client.until(lambda: bool(client.closed))
        assert sum(echo.batches) == 50


async def test_a_renewed_link_is_dialled_beside_the_old_one_which_goes_on_until_it_ends() -> None:
    echo = Echo()
    async with serving(echo) as port, dialled(port) as client:
        await client.until(lambda: len(client.opened) == 1)
        old = client.opened[0]
        client.dialer.renew(old)
        await client.until(lambda: len(client.opened) == 2)
        old.link.send(call(7))
        await client.until(lambda: len(client.frames) == 1)
        echo.links[0].close("done")
        await client.until(lambda: len(client.closed) == 1)
        assert list(client.dialer.replicas.values()) == [client.opened[1]]


async def test_another_protocol_version_is_refused_with_a_sentence_that_names_both() -> None:
    async with serving(Echo(protocol=99)) as port, dialled(port) as client:
        async with asyncio.timeout(10):
            while client.dialer.last_error is None:
                await asyncio.sleep(0.01)
        assert isinstance(client.dialer.last_error, ProtocolMismatch)
        assert "protocol 99" in str(client.dialer.last_error)
        assert f"this program {OURS}: upgrade this program" in str(client.dialer.last_error)
        assert not client.opened


@pytest.mark.parametrize("target", ["localhost", "localhost:", ":7800", "host:port", "http://localhost:7800", "localhost:65536"])
def test_an_address_without_host_or_port_is_refused_with_an_example(target: str) -> None:
    with pytest.raises(ValueError, match="write host:port"):
        parse_target(target)


@pytest.mark.parametrize("reason", sorted(BY_REASON))
def test_every_error_of_the_table_survives_the_link_and_the_grpc_status(reason: str) -> None:
    error = BY_REASON[reason]("what happened", started=Started.MAYBE, details={"limit": "x"}, retry_after=1.5)
    code, message, trailers = to_status(error)
    rpc_error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailers), message)
    for back in (from_rpc_error(rpc_error), from_frame(to_frame(error))):
        assert type(back) is type(error)
        assert (back.message, back.started, dict(back.details), back.retry_after) == ("what happened", Started.MAYBE, {"limit": "x"}, 1.5)
    assert code.value[0] == int(error.status)


async def test_several_addresses_are_all_dialled_and_each_is_checked() -> None:
    assert await resolve("127.0.0.1:1, dns:///127.0.0.2:2") == {"127.0.0.1:1": "127.0.0.1", "127.0.0.2:2": "127.0.0.2"}
    with pytest.raises(ValueError, match="'other' is not an address"):
        await resolve("127.0.0.1:1,other")
