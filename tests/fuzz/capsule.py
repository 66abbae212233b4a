"""Targets: an agent with two workers, of which one, or the keeper, says what it likes. The other one's call must not notice."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from fuzz.target import no_descriptor_left, no_failure_logged, target, until_done
from snakepit._ipc import control, sockets
from snakepit._ipc.frames import ToolInfo
from snakepit._ipc.sockets import FramingError
from snakepit._ipc.worker import Ready
from snakepit.spec import SnakePoolSpec, encode_spec
from snakepit.v1 import link_pb2
from snakepit_agent.agent import Agent
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.seats import SeatState
from snakepit_agent.settings import Settings

BEFORE_READY, STREAM, SESSION, HANDS_OVER, CANCELLED = 1, 2, 4, 8, 16
"""Bits of an input's first byte."""

SPEC = msgspec.convert({"worker": {"adapter": "a:A", "processes": 2}}, SnakePoolSpec)
READY = Ready([ToolInfo("echo", "", "{}")], "", 0.1)


class World:
    """Worker 0 runs call 1; worker 1 is ready, or about to be."""

    def __init__(self) -> None:
        self.agent = Agent(Settings("default/fuzz", "fuzz-0", "127.0.0.1:1", SPEC, encode_spec(SPEC), run_dir=Path("/nonexistent")))
        self.agent.workers.keeper_came(control.KeeperHello(control.PROTOCOL, 1, "1", "3"), [])
        self.ends: list[tuple[socket.socket, socket.socket]] = []
        self.lives = [seat.incarnation for seat in self.agent.workers.lifecycle.seats]
        for index, life in enumerate(self.lives):
            inbox, inbox_reader = sockets.packet_pair()
            outbox, theirs = sockets.stream_pair()
            theirs.setblocking(False)
            self.ends.append((inbox_reader, theirs))
            passed = [inbox.detach(), os.dup(inbox_reader.fileno()), outbox.detach()]
            self.agent.workers.keeper_said(control.WorkerStarted(index, life, 100 + index), passed)

    async def ready(self, index: int) -> None:
        self.say(index, sockets.encode_batch([READY]))
        await self.turns()
        assert self.lives[index] in self.agent.ledger.workers

    def call(self, index: int, number: int, mode: int) -> None:
        call = link_pb2.Call(id=number, call_id=f"c{number}", tool="echo", incarnation=self.lives[index], stream=bool(mode & STREAM))
        if mode & SESSION:
            call.session_id, call.session_uid, call.session_epoch = "s", "u", 1
        self.agent.pipeline.calls.on_call("replica", call)
        assert self.agent.ledger.find("replica", number)

    def say(self, index: int, data: bytes) -> None:
        try:
            self.ends[index][1].send(data)
        except BlockingIOError:
            return

    async def turns(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def ended(self) -> None:
        """Everything closed: no process is there, and no call is held."""
        self.agent.workers.keeper_went()
        assert not self.agent.ledger.calls
        assert not self.agent.workers.channels
        await self.agent.stop()
        for each in self.ends:
            sockets.close_all(end.detach() for end in each)


def _in_a_world(mode: int, act: Callable[[World], None]) -> None:
    """`act` does what it likes in the place of worker 1, or of the keeper in the name of worker 1."""

    async def live() -> None:
        world = World()
        await world.ready(0)
        world.call(0, 1, SESSION)
        if not mode & BEFORE_READY:
            await world.ready(1)
            world.call(1, 2, mode & STREAM)
        (sibling,) = world.agent.ledger.of_replica("replica")[:1]
        before, served = _as_it_is(sibling), _served(world)
        act(world)
        await world.turns()
        assert _as_it_is(sibling) == before
        assert _served(world) == served
        assert world.agent.ledger.calls[1] is sibling
        await world.ended()

    with no_descriptor_left(), no_failure_logged("snakepit_agent"):
        until_done(live())


def _as_it_is(call: HeldCall) -> HeldCall:
    return replace(call)


def _served(world: World) -> object:
    seat = world.agent.workers.lifecycle.seats.current[0]
    assert seat.state is SeatState.READY
    return seat.incarnation, seat.pid, seat.calls, seat.fault, seat.message, seat.rss_bytes


@target()
def worker(data: bytes) -> None:
    """The list of frames in one message of an outbox, after a byte of bits."""
    mode, said = (data[:1] or b"\0")[0], data[1:]

    def act(world: World) -> None:
        if mode & CANCELLED and not mode & BEFORE_READY:
            world.agent.pipeline.calls.on_cancel("replica", link_pb2.Cancel(id=2, reason="CANCELLED"))
        if mode & HANDS_OVER:
            descriptor = sockets.seal_memfd(said)
            sockets.hand_over(world.ends[1][0], 2, descriptor)
            os.close(descriptor)
        world.say(1, len(said).to_bytes(4, "big") + said)

    _in_a_world(mode, act)


@target()
def worker_packets(data: bytes) -> None:
    """What a worker puts on the way back of its inbox."""
    mode, said = (data[:1] or b"\0")[0], data[1:]

    def act(world: World) -> None:
        descriptor = sockets.open_memfd()
        os.write(descriptor, said)
        sockets.send_packet(world.ends[1][0], said or b"\0", [descriptor] * (mode >> 5))
        os.close(descriptor)
        channel = world.agent.workers.channels[world.lives[1]]
        channel.stacks  # noqa: B018  # it reads the inbox
        channel.take_over(2)

    _in_a_world(mode, act)


@target(FramingError)
def keeper(data: bytes) -> None:
    """What PID 1 of the author's container says of worker 1, or of all."""
    frame = control.decode_from_keeper(data)

    def act(world: World) -> None:
        said = frame
        if isinstance(said, control.WorkerStarted | control.WorkerExited | control.StartFailed):
            said = msgspec.structs.replace(said, incarnation=world.lives[1])
        elif isinstance(said, control.MemoryMeasured):
            said = control.MemoryMeasured([(world.lives[1], *each[1:]) for each in said.workers])
        if isinstance(said, control.KeeperHello):
            world.agent.workers.keeper_came(said, [])
        elif not isinstance(said, control.KeeperTerminating):
            world.agent.workers.keeper_said(said, [])
        world.agent.workers.beat(1.0)
        world.agent.announcer.report()

    _in_a_world(0, act)
