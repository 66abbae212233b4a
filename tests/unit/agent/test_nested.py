"""Nested calls in the agent: to the replica of the call around them, back to the worker that asked, and ended where nobody can answer."""

from __future__ import annotations

import math

import pytest

from snakepit._ipc.frames import CallFailure, Payload, ToolAnswer, ToolChunk
from snakepit._ipc.worker import ToolCall, ToolDropped, ToolTaken, ToWorker
from snakepit.v1 import common_pb2, link_pb2
from snakepit_agent.calls.nested import LATE_SECONDS, NestedCalls
from snakepit_agent.model.call import HeldCall


class World:
    def __init__(self, limit: int = 1000, most: int = 1000) -> None:
        self.sent: list[tuple[str, link_pb2.Frame]] = []
        self.told: list[tuple[str, ToWorker]] = []
        self.linked = True
        self.calls = NestedCalls(self.send, lambda to, frame: self.told.append((to, frame)), lambda replica: limit, most)

    def send(self, replica: str, frame: link_pb2.Frame) -> bool:
        self.sent.append((replica, frame))
        return self.linked

    def ask(self, operation: int = 1, held: HeldCall | None = None, incarnation: str = "w", now: float = 0.0, **fields: object) -> None:
        asked = ToolCall(operation, 7, "t", fields.pop("arguments", Payload(b"{}")), **fields)  # type: ignore[arg-type]
        self.calls.asked(held, incarnation, asked, now)

    def failure(self) -> CallFailure:
        (_, answer) = self.told[-1]
        assert isinstance(answer, ToolAnswer)
        assert answer.failure is not None
        return answer.failure


def held(due: float = math.inf, stopping: str = "") -> HeldCall:
    return HeldCall(id=7, remote=70, replica="r", incarnation="w", call_id="c", tool="outer", due=due, stopping=stopping, traceparent="tp")


def test_a_call_goes_to_the_replica_that_sent_the_call_around_it_and_names_it() -> None:
    world = World()
    world.ask(held=held(due=50.0), now=40.0, deadline=45.0, pool="default/other", stream=True)
    ((replica, frame),) = world.sent
    assert replica == "r"
    assert frame.nested_call.parent == 70
    call = frame.nested_call.call
    assert (call.tool, call.pool, call.stream, call.timeout_seconds, call.traceparent) == ("t", "default/other", True, 5.0, "tp")
    assert call.call_id


def test_chunks_and_the_answer_go_to_the_worker_that_asked_and_its_word_to_the_replica() -> None:
    world = World()
    world.ask(operation=3, held=held())
    number = world.sent[0][1].nested_call.call.id
    world.calls.on_flow("r", link_pb2.Flow(id=number, chunk=common_pb2.Payload(data=b"1")))
    world.calls.taken("w", ToolTaken(3, 1))
    assert world.sent[-1][1].flow == link_pb2.Flow(id=number, taken=1)
    world.calls.on_result("r", link_pb2.Result(id=number, payload=common_pb2.Payload(data=b"2")))
    world.calls.on_result("r", link_pb2.Result(id=number))
    assert [type(frame) for _, frame in world.told] == [ToolChunk, ToolAnswer]
    assert {to for to, _ in world.told} == {"w"}


def test_another_replica_can_not_answer() -> None:
    world = World()
    world.ask(held=held())
    world.calls.on_result("other", link_pb2.Result(id=1))
    world.calls.on_flow("other", link_pb2.Flow(id=1, chunk=common_pb2.Payload(data=b"1")))
    assert not world.told


def test_a_call_that_is_dropped_is_cancelled_there_and_its_answer_passed_over() -> None:
    world = World()
    world.ask(operation=3, held=held())
    world.calls.dropped("w", ToolDropped(3))
    assert world.sent[-1][1].cancel.id == 1
    world.calls.on_result("r", link_pb2.Result(id=1))
    world.calls.taken("w", ToolTaken(3, 1))
    assert not world.told


@pytest.mark.parametrize("call", [None, held(stopping="CANCELLED")], ids=["ended", "stopping"])
def test_a_call_that_is_over_calls_nothing(call: HeldCall | None) -> None:
    world = World()
    world.ask(held=call)
    assert world.failure().reason == "CANCELLED"
    assert not world.sent


def test_arguments_over_the_limit_are_refused_before_they_could_break_the_link() -> None:
    world = World(limit=10)
    world.ask(held=held(), arguments=Payload(b"x" * 11))
    assert world.failure().reason == "PAYLOAD_TOO_LARGE"
    assert world.failure().details["limit"] == "maxPayloadBytes"
    assert not world.sent


def test_so_many_may_wait() -> None:
    world = World(most=2)
    for operation in range(3):
        world.ask(operation=operation, held=held())
    assert world.failure().details == {"limit": "SNAKEPIT_MAX_NESTED_CALLS", "calls": "2"}
    assert len(world.sent) == 2


def test_a_broken_link_ends_the_wait() -> None:
    world = World()
    world.ask(held=held())
    world.calls.replica_unlinked("other")
    assert not world.told
    world.calls.replica_unlinked("r")
    assert (world.failure().reason, world.failure().started) == ("REPLICA_LOST", 2)
    world.linked = False
    world.ask(held=held())
    assert (world.failure().reason, world.failure().started) == ("REPLICA_LOST", 1)


def test_a_replica_that_says_nothing_is_not_waited_for_for_ever() -> None:
    world = World()
    world.ask(held=held(due=10.0))
    world.calls.tick(10.0 + LATE_SECONDS - 0.1)
    assert not world.told
    world.calls.tick(10.0 + LATE_SECONDS)
    assert world.failure().reason == "REPLICA_LOST"


def test_a_dead_worker_is_told_nothing() -> None:
    world = World()
    world.ask(held=held())
    world.calls.worker_died("w")
    world.calls.on_result("r", link_pb2.Result(id=1))
    world.calls.replica_unlinked("r")
    assert not world.told
