"""A lane by itself: what comes before anybody wants it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import random
import socket
import struct
import sys
import termios
from collections.abc import Sequence

import pytest
from google.protobuf.message import DecodeError

from snakepit._wire import turns as turns_module
from snakepit._wire.channels import LONGEST_BYTES, MOST_FRAMES
from snakepit._wire.lane import AT_ONCE, LONG_BYTES, PART_BYTES, TURN_BYTES, Lane, TooManyFrames, in_turns, read_in_parts
from snakepit._wire.link import Link
from snakepit._wire.turns import Turns
from snakepit.v1 import common_pb2, link_pb2
from support.eager import UVLOOP_READS, Eager


async def test_what_comes_before_it_is_wanted_is_kept_as_far_as_one_message_goes() -> None:
    there, here = socket.socketpair()
    there.setblocking(False)
    here.setblocking(False)
    lane = await Lane.on(here)
    sent = 0
    with there, contextlib.suppress(ConnectionError):
        while sent < 8 * LONGEST_BYTES:
            await asyncio.get_running_loop().sock_sendall(there, bytes(64 * 1024))
            sent += 64 * 1024
    assert await lane.ended == "more came than a message before it was wanted"
    assert sent <= 2 * LONGEST_BYTES
    assert not lane.is_open


async def on_both(*ends: socket.socket) -> list[Lane]:
    """A lane at each end."""
    for end in ends:
        end.setblocking(False)
    return [await Lane.on(end) for end in ends]


def unread(sock: socket.socket) -> int:
    """Bytes that have come there and that nobody has read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


async def test_a_lane_keeps_what_comes_before_it_is_wanted() -> None:
    sockets = socket.socketpair()
    ends = await on_both(*sockets)
    ends[0].write(link_pb2.LinkRequest(frames=[link_pb2.Frame(call=link_pb2.Call(id=1))]).SerializeToString())
    taken: list[int] = []
    came = asyncio.Event()

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        taken.extend(frame.call.id for frame in frames)
        came.set()

    while unread(sockets[1]):
        await asyncio.sleep(0.001)
    ends[1].attach(take, lambda: None)
    await asyncio.wait_for(came.wait(), 5)
    assert taken == [1]
    for end in ends:
        end.abort()


async def test_a_lane_that_its_peer_has_reset_is_finished_all_the_same() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    ours.setblocking(False)
    lane = await Lane.on(ours)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()  # A reset, of which the loop has not told yet.
    await lane.finish(5)
    assert not lane.is_open


# ---- whose turn it is


def calls(first: int, count: int) -> bytes:
    frames = [link_pb2.Frame(call=link_pb2.Call(id=first + number, call_id="x" * 100)) for number in range(count)]
    return link_pb2.LinkRequest(frames=frames).SerializeToString()


class Taker:
    """Takes calls, and asks at each hand-over for a turn of its own: `turns` is how many have come between them."""

    def __init__(self, count: int) -> None:
        self.ids: list[int] = []
        self.at_once = self.turns = 0
        self.done = asyncio.Event()
        self._count = count

    def take(self, frames: Sequence[link_pb2.Frame]) -> None:
        asyncio.get_running_loop().call_soon(self._turn)
        self.ids += [frame.call.id for frame in frames]
        self.at_once = max(self.at_once, len(frames))
        if len(self.ids) >= self._count:
            self.done.set()

    def _turn(self) -> None:
        self.turns += len(self.ids) < self._count


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each hand-over took all of a turn."""
    monkeypatch.setattr(turns_module, "TURN_SECONDS", 0.0)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("messages", [[3000], [1] * 3000, [40, 1, 2000, 31, 32, 33, 863]], ids=["one", "small ones", "of all sizes"])
async def test_what_takes_longer_than_a_turn_is_handed_over_in_order_with_turns_of_others_between_and_then_its_end(
    messages: Sequence[int],
) -> None:
    there, here = await on_both(*socket.socketpair())
    taker = Taker(3000)
    here.attach(taker.take, lambda: None)
    first = 0
    for count in messages:
        there.write(calls(first, count))
        first += count
    async with asyncio.timeout(10):
        await asyncio.gather(there.finish(0), taker.done.wait())
        assert taker.ids == list(range(3000))
        assert await here.ended == "the peer ended the lane"
    assert taker.at_once <= AT_ONCE
    assert taker.turns >= 3000 // AT_ONCE
    here.abort()


@pytest.mark.usefixtures("no_time")
async def test_while_a_lane_catches_up_nothing_more_is_read() -> None:
    there, here = await on_both(*socket.socketpair())
    full_halfway: list[bool] = []
    taker = Taker(60_000)

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        taker.take(frames)
        if len(taker.ids) >= 30_000 and not full_halfway:
            full_halfway.append(there.is_full)

    here.attach(take, lambda: None)
    for number in range(20):
        there.write(calls(number * 3000, 3000))
    async with asyncio.timeout(20):
        await taker.done.wait()
    assert taker.ids == list(range(60_000))
    assert full_halfway == [True], "the sender has to wait"
    there.abort()
    here.abort()


@pytest.mark.usefixtures("no_time")
async def test_a_lane_that_is_aborted_meanwhile_hands_nothing_more_over() -> None:
    there, here = await on_both(*socket.socketpair())
    taken: list[int] = []

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        taken.append(len(frames))
        here.abort()

    here.attach(take, lambda: None)
    there.write(calls(0, 3000))
    async with asyncio.timeout(10):
        await here.ended
    for _ in range(5):
        await asyncio.sleep(0)
    assert taken == [AT_ONCE]
    there.abort()


async def with_a_message(count: int, turns: Turns | None = None) -> tuple[Lane, socket.socket]:
    """A lane to which a message of so many calls has been sent, by that socket."""
    there, here = socket.socketpair()
    here.setblocking(False)
    lane = await Lane.on(here, turns)
    message = calls(0, count)
    there.sendall(struct.pack("<I", len(message)) + message)
    return lane, there


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("given_up", [False, True])
async def test_of_a_lane_that_breaks_meanwhile_all_that_had_come_is_handed_over_unless_it_is_given_up(given_up: bool) -> None:
    here, there = await with_a_message(1000)
    taker = Taker(1000)

    def take(frames: Sequence[link_pb2.Frame]) -> None:
        taker.take(frames)
        assert not here.ended.done()
        if len(taker.ids) == AT_ONCE:
            there.close()
            here.write(b"nobody reads this")
        elif given_up and len(taker.ids) == 5 * AT_ONCE:
            here.abort()

    here.attach(take, lambda: None)
    assert "the lane broke: " in await asyncio.wait_for(here.ended, 10)
    assert taker.ids == list(range(5 * AT_ONCE if given_up else 1000))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(taker.ids) == (5 * AT_ONCE if given_up else 1000)


@pytest.mark.usefixtures("no_time")
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closing"])
async def test_of_a_link_that_is_cancelled_or_closed_meanwhile_all_that_had_come_is_handed_over(closed: bool) -> None:
    """As where a peer has died, whose stream broke first."""
    lane, there = await with_a_message(1000)
    ids: list[int] = []

    def take(link: Link, frames: Sequence[link_pb2.Frame]) -> None:
        ids.extend(frame.call.id for frame in frames)
        if len(ids) == AT_ONCE:
            there.close()
            lane.write(b"nobody reads this")
            over.set_result(None) if closed else running.cancel()

    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    link = Link(take)
    link.use(lane, over)
    running = asyncio.create_task(link.run())
    await asyncio.wait((running,), timeout=10)
    assert running.cancelled() is not closed
    assert ids == list(range(1000))


async def test_however_much_has_come_a_turn_takes_one_read_of_it() -> None:
    """Else a connection that brings megabytes keeps everybody waiting for all of them: each took milliseconds."""
    large = link_pb2.Call(id=1, arguments=common_pb2.Payload(data=bytes(1024 * 1024)))
    message = link_pb2.LinkRequest(frames=[link_pb2.Frame(call=large)]).SerializeToString()
    lane, taker = Lane(), Taker(8)
    lane.attach(taker.take, lambda: None)
    transport = Eager(lane, (struct.pack("<I", len(message)) + message) * 8)
    transport.pour()
    await asyncio.wait_for(taker.done.wait(), 10)
    assert taker.ids == [1] * 8
    assert max(transport.read) == UVLOOP_READS
    assert len(transport.read) >= 8 * len(message) // UVLOOP_READS


def of_any_size(chance: random.Random, count: int) -> list[link_pb2.Frame]:
    sizes = [0, 1, 100, 127, 128, 129, 16_384, 3 * PART_BYTES]
    return [link_pb2.Frame(call=link_pb2.Call(id=id_, call_id="x" * chance.choice(sizes))) for id_ in range(count)]


@pytest.mark.parametrize("seed", range(20))
def test_a_long_message_is_read_a_few_frames_at_a_time_and_nothing_of_it_is_lost(seed: int) -> None:
    chance = random.Random(seed)
    frames = of_any_size(chance, chance.randrange(200))
    later = [b"", b"\x10\x07", b"\x92\x3f\x02hi", b"\x1d" + bytes(4), b"\x19" + bytes(8), b"\xf8\x3e\x80\x80\x01"]
    message = b"".join(link_pb2.LinkRequest(frames=[frame]).SerializeToString() + chance.choice(later) for frame in frames)
    read = list(read_in_parts(message))
    assert [frame for part in read for frame in part] == frames == list(link_pb2.LinkRequest.FromString(message).frames)
    assert max(map(len, read), default=0) <= AT_ONCE
    assert all(sum(frame.ByteSize() for frame in part[:-1]) <= PART_BYTES for part in read)


@pytest.mark.parametrize("seed", range(20))
def test_a_long_message_that_is_cut_off_or_broken_is_read_to_there_and_refused(seed: int) -> None:
    chance = random.Random(seed)
    whole = link_pb2.LinkRequest(frames=of_any_size(chance, 100)).SerializeToString()
    ends = [0]
    for frame in link_pb2.LinkRequest.FromString(whole).frames:
        ends.append(ends[-1] + len(link_pb2.LinkRequest(frames=[frame]).SerializeToString()))
    with pytest.raises(DecodeError):
        list(read_in_parts(whole[: chance.choice(ends[1:]) - 1]))
    at = chance.choice(ends[:-1])
    for broken in (b"\x0b", b"\x0c", b"\xff" * 20, b"\x0a\x04\x22\x7fxx", b"\x0a\xff"):
        with pytest.raises(DecodeError):
            list(read_in_parts(whole[:at] + broken + whole[at:]))


@pytest.mark.parametrize("before", [b"", b"\x0a", b"\x10"], ids=["a tag", "a length", "a number"])
def test_a_number_of_a_million_bytes_is_refused_by_its_first_ones(before: bytes) -> None:
    """To read all of it took a minute of the loop's time, and grew with its square."""
    with pytest.raises(DecodeError, match="more than 10 bytes"):
        list(read_in_parts(before + b"\xff" * 1024 * 1024))


def test_of_a_message_with_too_many_fields_the_rest_is_not_read() -> None:
    for field in (b"\x0a\x00", b"\x10\x07"):
        read = read_in_parts(field * (MOST_FRAMES + 1))
        with pytest.raises(TooManyFrames):
            list(map(len, read))
        assert sum(map(len, read_in_parts(b"\x0a\x00" * MOST_FRAMES))) == MOST_FRAMES


@pytest.mark.parametrize("end", [b"\x0b", b"\x0a\x00" * MOST_FRAMES], ids=["no frame", "too many"])
async def test_what_is_wrong_at_the_end_of_a_long_message_ends_its_lane(end: bytes) -> None:
    there, here = await on_both(*socket.socketpair())
    here.attach(lambda _: None, lambda: None)
    there.write(calls(0, LONG_BYTES) + end)
    async with asyncio.timeout(20):
        assert await here.ended in (
            "what came is no message: a field is of kind 3, which nobody writes",
            f"a message has too many frames, {MOST_FRAMES} is the most",
        )
    there.abort()


async def test_whoever_brings_a_little_at_a_time_never_waits_however_much_it_has_been_in_all() -> None:
    message = calls(0, AT_ONCE)
    lane, taker = Lane(), Taker(1)
    lane.attach(taker.take, lambda: None)
    transport = Eager(lane)
    for _ in range(4 * TURN_BYTES // len(message)):
        lane.data_received(struct.pack("<I", len(message)) + message)
        assert transport.reads
        await asyncio.sleep(0)


@pytest.mark.usefixtures("no_time")
async def test_of_lanes_that_share_turns_one_at_a_time_goes_on() -> None:
    """Else whoever has little to say waits in each turn of the loop for as many of them as somebody has opened."""
    turns, lanes, taker = Turns(), 10, Taker(10 * 1000)
    made = [await with_a_message(1000, turns) for _ in range(lanes)]
    for lane, _ in made:
        lane.attach(taker.take, lambda: None)
    loop_turns = 0
    while not taker.done.is_set():
        loop_turns += 1
        await asyncio.sleep(0)
    for lane, there in made:
        there.close()
        lane.abort()
    assert loop_turns > lanes * 1000 // AT_ONCE // 2
    assert sorted(taker.ids) == sorted(list(range(1000)) * lanes)


@pytest.mark.usefixtures("no_time")
async def test_a_message_of_a_stream_is_handed_over_in_turns_too() -> None:
    taker = Taker(1000)
    await in_turns(link_pb2.LinkRequest.FromString(calls(0, 1000)).frames, taker.take, Turns())
    assert taker.ids == list(range(1000))
    assert taker.turns >= 1000 // AT_ONCE - 1
