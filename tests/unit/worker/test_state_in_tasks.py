"""State operations of an async tool's tasks: those of one turn of the loop are one message, and each task gets its own answer."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from snakepit._ipc.frames import StateAnswer
from snakepit._ipc.sockets import encode_batch, worker_frames
from snakepit._ipc.worker import StateOperation
from snakepit_worker.channel import Channel
from snakepit_worker.interrupts import Interrupts


@dataclass
class Ends:
    channel: Channel
    agent: socket.socket

    def heard(self) -> list[StateOperation]:
        """What one read gives: a message is written at once, so all of it."""
        self.agent.settimeout(10)
        return [frame for frame in worker_frames().feed(self.agent.recv(1 << 16)) if isinstance(frame, StateOperation)]

    def answer(self, *answers: StateAnswer) -> None:
        self.agent.sendall(encode_batch(answers))


@pytest.fixture
def ends() -> Iterator[Ends]:
    outbox, agent = socket.socketpair()
    inbox, calls = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(outbox, inbox, Interrupts())
    reader = threading.Thread(target=channel.read, args=(lambda frame: None,))
    reader.start()
    yield Ends(channel, agent)
    agent.close()
    reader.join(10)
    for each in (outbox, inbox, calls):
        each.close()


async def test_what_is_asked_in_one_turn_is_one_message_and_every_task_gets_its_own_answer(ends: Ends) -> None:
    asked = [ends.channel.ask_soon(7, "get", f"k{n}", None, -1) for n in range(20)]
    operations = await asyncio.to_thread(ends.heard)
    assert [each.key for each in operations] == [f"k{n}" for n in range(20)]
    ends.answer(*(StateAnswer(each.operation_id, version=int(each.key[1:])) for each in reversed(operations)))
    async with asyncio.timeout(10):
        assert [(await each).version for each in asked] == list(range(20))


async def test_a_task_that_gave_up_waiting_does_not_stop_the_others(ends: Ends) -> None:
    gone, waits = (ends.channel.ask_soon(7, "get", key, None, -1) for key in "ab")
    operations = await asyncio.to_thread(ends.heard)
    gone.cancel()
    ends.answer(*(StateAnswer(each.operation_id, version=1) for each in operations))
    async with asyncio.timeout(10):
        assert (await waits).version == 1


async def test_more_than_a_message_holds_leaves_in_several(ends: Ends) -> None:
    asked = [ends.channel.ask_soon(7, "keys", "", None, -1) for _ in range(100)]
    operations: list[StateOperation] = []
    while len(operations) < 100:
        operations += await asyncio.to_thread(ends.heard)
    ends.answer(*(StateAnswer(each.operation_id) for each in operations))
    async with asyncio.timeout(10):
        await asyncio.gather(*asked)


def test_an_answer_after_the_loop_has_closed_wakes_nobody(ends: Ends) -> None:
    async def ask() -> None:
        ends.channel.ask_soon(7, "get", "k", None, -1)
        await asyncio.sleep(0)

    asyncio.run(ask())
    (operation,) = ends.heard()
    ends.answer(StateAnswer(operation.operation_id))
    assert ends.channel.ask(8, "get", "k", None, -1)
    (second,) = ends.heard()
    ends.answer(StateAnswer(second.operation_id))
