"""Results that wait to leave together: they are with the agent, whatever ends the worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from snakepit._ipc import sockets
from snakepit._ipc.frames import Payload
from snakepit._ipc.held import MOST_FRAMES, HeldResults, left_behind
from snakepit._ipc.worker import Done, Pong
from snakepit_agent.workers.channel import WorkerChannel
from snakepit_worker.channel import Channel
from snakepit_worker.interrupts import ThreadInterrupts


class Ends(NamedTuple):
    """A worker's channel, the agent's of the same sockets, and what the agent has heard."""

    worker: Channel
    agent: WorkerChannel
    heard: list[Any]
    outbox: socket.socket


@pytest.fixture
async def ends() -> Iterator[Ends]:
    (inbox, inbox_reader), (outbox, worker_outbox) = sockets.packet_pair(), sockets.stream_pair()
    heard: list[Any] = []
    agent = WorkerChannel(
        "w",
        inbox.detach(),
        inbox_reader.dup().detach(),
        outbox.detach(),
        lambda _channel, frames: heard.extend(frames),
        lambda *_: None,
        lambda *_: None,
    )
    with inbox_reader, worker_outbox:
        worker = Channel(worker_outbox, inbox_reader, ThreadInterrupts(), HeldResults(inbox_reader))
        yield Ends(worker, agent, heard, worker_outbox)
        agent.close()


def results(*ids: int) -> list[Done]:
    return [Done(id, Payload(b"%d" % id)) for id in ids]


async def test_what_a_worker_held_when_it_died_is_heard(ends: Ends) -> None:
    first, second, third = results(1, 2, 3)
    ends.worker.hold(first)
    ends.worker.send(Pong())
    ends.worker.hold(second)
    ends.worker.hold(third)
    ends.outbox.close()
    ends.agent.drain()
    assert ends.heard == [first, Pong(), second, third]


async def test_what_has_been_sent_is_not_held_any_more(ends: Ends) -> None:
    ends.worker.hold(*results(1))
    ends.worker.flush()
    ends.outbox.close()
    ends.agent.drain()
    assert ends.heard == results(1)


@pytest.mark.parametrize(("size", "count"), [(1, MOST_FRAMES + 1), (20_000, 3), (100_000, 1)], ids=["small", "large", "huge"])
async def test_no_more_are_held_than_there_is_room_for(ends: Ends, size: int, count: int) -> None:
    result = Done(1, Payload(bytes(size)))
    for _ in range(count):
        ends.worker.hold(result)
    ends.outbox.close()
    ends.agent.drain()
    assert ends.heard == [result] * count


@pytest.mark.parametrize("garbage", [b"", b"\xff\xff\xff\xff", b"\0\0\0\x07\xdc\0\x04none"], ids=["gone", "too much", "no frame"])
def test_memory_that_the_tool_has_broken_says_nothing(garbage: bytes) -> None:
    descriptor = sockets.seal_memfd(garbage)
    assert left_behind(descriptor) == []
    os.close(descriptor)
