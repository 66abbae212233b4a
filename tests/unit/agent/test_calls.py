"""A capsule's calls over a real inbox and outbox, whose other ends the test holds: when a tool is killed, what becomes of what is left."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from snakepit._ipc import sockets
from snakepit._ipc.frames import Payload
from snakepit._ipc.worker import CancelCall, Done
from snakepit.v1 import link_pb2
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.budget import MemoryBudget
from snakepit_agent.calls.calls import Calls
from snakepit_agent.calls.execution import Execution
from snakepit_agent.calls.leasing import Leasing
from snakepit_agent.calls.sessions import Sessions
from snakepit_agent.calls.stopping import Stopping
from snakepit_agent.link.bulk import Route
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.exits import Exit
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.channel import WorkerChannel

KILL_AFTER = 5.0


class Silent(Route):
    """Nothing comes of it."""

    async def open(self, **first: Any) -> Any:
        await asyncio.Event().wait()


class Capsule:
    """What calls ask of the rest of a capsule: a link that keeps what it is told, one worker, and no word of a process."""

    def __init__(self, slots: int = 1) -> None:
        inbox, self.inbox = sockets.packet_pair()
        outbox, self.outbox = sockets.stream_pair()
        self.frames: list[link_pb2.Frame] = []
        self.killed: list[str] = []
        self.monitor = self
        self.ledger = Ledger()
        self.ledger.open("w", slots)
        ends = inbox.detach(), self.inbox.dup().detach(), outbox.detach()
        channel = WorkerChannel("w", *ends, self._heard, lambda *_: None, lambda *_: None)
        self.channels = {"w": channel}
        self.supervisor = self.processes = self.lifecycle = self.seats = cast(Any, self)
        leasing = Leasing(self.ledger, self.supervisor, exclusive=False)
        answers = Answers(self.ledger, self, self.processes, cast(Any, None), lambda: None)
        self.execution = Execution(self.ledger, self.supervisor, answers, leasing, MemoryBudget(1 << 20), self._route, lambda: None)
        stopping = Stopping(self.ledger, self.supervisor, self.execution, answers, KILL_AFTER)
        sessions = Sessions(self.ledger, self, self.processes, leasing, self.execution, stopping)
        self.calls = Calls(self.ledger, sessions, stopping, self.execution, answers, strict=False)

    def _heard(self, channel: WorkerChannel, said: Any) -> None:
        for frame in said:
            self.calls.on_done(channel.incarnation, frame)

    def _route(self, held: HeldCall) -> Route | None:
        return Silent(cast(Any, None), held.remote, 60.0)

    def send(self, replica: str, frame: link_pb2.Frame) -> bool:
        self.frames.append(frame)
        return True

    def send_result(self, replica: str, frame: link_pb2.Frame, now: float) -> None:
        self.frames.append(frame)

    def limit(self, replica: str) -> tuple[int, str]:
        return 1 << 20, "maxPayloadBytes"

    def worker_id(self, incarnation: str) -> str:
        return "capsule/0"

    def kill(self, incarnation: str, reason: str, message: str) -> None:
        self.killed.append(reason)

    def ended_a_call(self, incarnation: str) -> None: ...
    def tell(self, incarnation: str, frame: Any) -> None:
        self.channels[incarnation].control(frame)

    def dump(self, incarnation: str, *, anew: bool = True) -> None: ...
    def reads_nothing(self, incarnation: str) -> None: ...

    def call(self, id_: int, tool: str = "t", **fields: Any) -> HeldCall:
        self.calls.on_call("r", link_pb2.Call(id=id_, call_id=f"c{id_}", tool=tool, incarnation="w", **fields))
        held = self.ledger.find("r", id_)
        assert held is not None
        return held

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()
        self.inbox.close()
        self.outbox.close()


@pytest.fixture
async def capsule() -> Any:
    made = Capsule()
    yield made
    await made.execution.arguments.close()
    made.close()


async def test_a_second_cancel_gives_the_tool_no_more_time(capsule: Capsule) -> None:
    held = capsule.call(1)
    assert sockets.recv_call(capsule.inbox) is not None
    capsule.calls.on_cancel("r", link_pb2.Cancel(id=1))
    kill_at, due, step = held.kill_at, held.due, held.step
    assert kill_at < time.monotonic() + KILL_AFTER + 0.001
    for _ in range(3):
        capsule.calls.on_cancel("r", link_pb2.Cancel(id=1))
    assert (held.kill_at, held.due, held.step) == (kill_at, due, step)
    await asyncio.sleep(0)
    frames = sockets.agent_frames().feed(capsule.outbox.recv(1 << 16))
    assert frames == [CancelCall(held.id, "CANCELLED")]
    capsule.calls.tick(kill_at)
    capsule.calls.tick(kill_at + 1)
    assert capsule.killed == ["ToolDidNotStop"]


async def test_a_result_that_a_worker_said_before_it_died_is_its_calls_result(capsule: Capsule) -> None:
    held = capsule.call(1)
    assert sockets.recv_call(capsule.inbox) is not None
    capsule.outbox.sendall(sockets.encode_batch([Done(held.id, Payload(b"7"), run_seconds=0.1)]))
    capsule.execution.worker_died("w", Exit("signal 9", "signal 9"))
    assert [frame.result.payload.data for frame in capsule.frames] == [b"7"]


async def test_large_calls_whose_arguments_are_on_their_way_are_not_taken_for_calls_that_the_worker_runs(capsule: Capsule) -> None:
    """Of a worker that reads nothing, as many small calls stay in its inbox as it has slots, though large ones were sent to it as well."""
    capsule.ledger.open("w", 2)
    capsule.call(1, pieces=link_pb2.Pieces(sections=[4]))
    capsule.call(2)
    for remote in range(100, 200):
        held = HeldCall(capsule.ledger.next_id(), remote, "r", "w", "", "quick")
        capsule.ledger.admit(held, time.monotonic())
        capsule.ledger.finish(held.id, 0.00001, time.monotonic())
    worker = capsule.ledger.workers["w"]
    worker.backlog = 0.0
    capsule.call(3, "quick")
    capsule.calls.tick(worker.progressed + 0.1)  # when calls that wait should go back, and before it counts as stuck
    left = []
    while (taken := sockets.take_back_call(capsule.inbox)) is not None:
        left.append(taken[0].call_id)
    assert left == ["c2", "c3"]
    assert not capsule.frames
