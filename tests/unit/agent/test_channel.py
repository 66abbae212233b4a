"""One worker's sockets, from the agent's side: what can't be written costs no worker, and what is no frame is told once."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from snakepit._ipc import sockets
from snakepit._ipc.frames import Payload
from snakepit._ipc.sections import sizes, skeleton
from snakepit._ipc.worker import INLINE_BYTES, Begin, CallFrame, Done, FromWorker
from snakepit_agent.workers.channel import HANDED, WorkerChannel, WorkerLies
from support.descriptors import open_files
from support.eventually import eventually


@dataclass
class Worker:
    """Both ends of a channel, and what its owner was told."""

    said: list[FromWorker] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unwritten: list[tuple[int, str]] = field(default_factory=list)
    lie: Exception | None = None

    def __post_init__(self) -> None:
        inbox, self.inbox = sockets.packet_pair()
        outbox, self.outbox = sockets.stream_pair()
        ends = inbox.detach(), os.dup(self.inbox.fileno()), outbox.detach()
        self.channel = WorkerChannel(
            "incarnation", *ends, self._heard, lambda _, why: self.broken.append(why), lambda id_, why: self.unwritten.append((id_, why))
        )

    def _heard(self, _: WorkerChannel, frames: list[FromWorker]) -> None:
        if self.lie is not None:
            raise self.lie
        self.said += frames

    def close(self) -> None:
        self.channel.close()
        self.inbox.close()
        self.outbox.close()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker()
    yield made
    made.close()


def call(number: int, size: int = 10) -> CallFrame:
    return CallFrame(id=number, call_id=f"c{number}", tool="echo", arguments=Payload(b"x" * size))


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_call_for_which_no_descriptor_is_left_is_told_of_and_the_worker_gets_the_next(worker: Worker) -> None:
    with no_descriptor_left():
        worker.channel.deliver(call(1, INLINE_BYTES * 2))
        worker.channel.deliver(call(2))
    await turns()
    assert [id_ for id_, _ in worker.unwritten] == [1]
    assert worker.unwritten[0][1] == "the call can't be given to its worker: [Errno 24] Too many open files"
    worker.channel.deliver(call(3, INLINE_BYTES * 2))
    assert [received.id for _ in range(2) if (received := sockets.recv_call(worker.inbox))] == [2, 3]
    assert not worker.broken


async def test_a_call_that_waited_for_room_and_can_not_be_written_then_does_not_hold_up_those_behind_it(worker: Worker) -> None:
    sent = 2000  # more than any inbox has room for
    for id_ in range(1, sent + 1):
        worker.channel.deliver(call(id_))
    worker.channel.deliver(call(sent + 1, INLINE_BYTES * 2))
    worker.channel.deliver(call(sent + 2))
    received = []
    with no_descriptor_left():
        for _ in range(sent + 1):
            received.append(sockets.recv_call(worker.inbox))
            await turns()
    assert [each.id for each in received if each] == [*range(1, sent + 1), sent + 2]
    assert [id_ for id_, _ in worker.unwritten] == [sent + 1]
    assert not worker.broken


async def test_a_large_call_that_can_not_be_written_leaves_no_descriptor(worker: Worker) -> None:
    payload = Payload(b"x" * 100)
    large = CallFrame(7, "c7", "t" * INLINE_BYTES, skeleton(payload), sections=sizes(payload))
    before = open_files()
    descriptor = sockets.seal_memfd(payload.data)
    with no_descriptor_left():
        worker.channel.deliver_large(large, descriptor)
    await turns()
    assert [id_ for id_, _ in worker.unwritten] == [7]
    assert not open_files() - before


async def test_a_worker_that_has_shut_its_inbox_is_told_of_once(worker: Worker) -> None:
    worker.inbox.shutdown(socket.SHUT_RDWR)
    for number in (1, 2):
        worker.channel.deliver(call(number))
    assert (worker.broken, worker.unwritten) == ([""], [])


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x07\x91\x92\xa4\xff\xfe\xff\xfe", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1"])
async def test_what_is_no_frame_is_told_once_and_nothing_behind_it_is_heard(worker: Worker, data: bytes, caplog: Any) -> None:
    worker.outbox.sendall(sockets.encode_batch([Begin(1, 0.5)]))
    await eventually(lambda: worker.said)
    for _ in range(50):
        worker.outbox.sendall(data + sockets.encode_batch([Done(1, Payload(b"1"))]))
        await turns()
    worker.channel.drain()
    assert worker.said == [Begin(1, 0.5)]
    assert len(worker.broken) == 1
    assert worker.broken[0].startswith("the outbox can't be read: ")
    assert not caplog.records


@pytest.mark.parametrize("lie", [WorkerLies("it spoke of call 1"), ZeroDivisionError()])
async def test_of_a_worker_that_says_what_can_not_be_nothing_more_is_heard(worker: Worker, lie: Exception, caplog: Any) -> None:
    worker.lie = lie
    for number in range(20):
        worker.outbox.sendall(sockets.encode_batch([Begin(number, 0.5)]))
        await turns()
    await eventually(lambda: worker.broken)
    worker.lie = None
    worker.channel.drain()
    assert not worker.said
    assert worker.broken == ["it spoke of call 1" if isinstance(lie, WorkerLies) else "it said what can't be taken"]
    assert len(caplog.records) == isinstance(lie, ZeroDivisionError)


async def test_a_worker_that_hands_over_memfds_without_end_is_cut_off_and_none_is_left(worker: Worker) -> None:
    before = open_files()
    descriptor = sockets.seal_memfd(b"x")
    for number in range(HANDED + 1):
        sockets.hand_over(worker.inbox, 100 + number, descriptor)
        assert worker.channel.take_over(5) == -1
    os.close(descriptor)
    assert worker.broken == [f"it has handed over {HANDED} memfds that no frame spoke of"]
    for number in range(HANDED + 1):
        worker.channel.ended(100 + number)
    assert not open_files() - before
