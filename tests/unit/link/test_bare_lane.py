"""A lane by itself: what comes before anybody wants it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Sequence

import pytest

from snakepit._wire.channels import LONGEST_BYTES
from snakepit._wire.lane import Lane
from snakepit.v1 import link_pb2

pytestmark = pytest.mark.timeout(20)


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


def unread(sock: socket.socket) -> int:
    """Bytes that have come there and that nobody has read."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


async def test_a_lane_keeps_what_comes_before_it_is_wanted() -> None:
    sockets = socket.socketpair()
    ends = [await Lane.on(end) for end in sockets if end.setblocking(False) is None]
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
