"""State operations of running calls in the agent: what is left of the call's deadline goes with them, and after it nothing is touched."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit._ipc.frames import Payload, StateAnswer
from snakepit._ipc.worker import StateOperation
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.calls.state import ANSWER_SECONDS, LATE_SECONDS, WAITING, StateForwarder
from snakepit_agent.model.call import HeldCall, Step


class World:
    def __init__(self) -> None:
        self.sent: list[link_pb2.StateRequest] = []
        self.answers: list[StateAnswer] = []
        self.state = StateForwarder("default/p", self.send, lambda _, answer: self.answers.append(answer))

    def send(self, replica: str, frame: link_pb2.Frame) -> bool:
        self.sent.append(frame.state_request)
        return True

    def ask(self, held: HeldCall, now: float) -> None:
        self.state.request(held, StateOperation(1, held.id, "set", "k", Payload(b"1"), -1), now)


def held(due: float = math.inf, **more: object) -> HeldCall:
    fields = {"id": 7, "remote": 70, "replica": "r", "incarnation": "w", "call_id": "c", "tool": "t", "session_id": "s", "due": due}
    return HeldCall(**{**fields, **more})  # type: ignore[arg-type]


@given(st.floats(0, 1000), st.floats(0.001, 1000))
def test_an_operation_takes_what_is_left_of_its_calls_deadline(now: float, left: float) -> None:
    world = World()
    world.ask(held(due=now + left), now)
    assert world.sent[0].timeout_seconds == pytest.approx(left, abs=1e-6)


def test_one_of_a_call_without_a_deadline_has_none() -> None:
    world = World()
    world.ask(held(), 5.0)
    assert world.sent[0].timeout_seconds == 0.0


def test_more_operations_than_may_wait_are_refused_with_the_name_of_the_limit_and_what_it_allows() -> None:
    world = World()
    for _ in range(WAITING + 1):
        world.ask(held(), 5.0)
    failure = world.answers[0].failure
    assert len(world.sent) == WAITING
    assert failure is not None
    assert (failure.reason, failure.details) == ("STATE_QUOTA", {"limit": "waitingStateOperations", "operations": str(WAITING)})
    assert "waitingStateOperations" in failure.message


@pytest.mark.parametrize(
    "late", [held(due=10.0), held(due=16.0, step=Step.DUMP, stopping="DEADLINE")], ids=["not yet told to stop", "told to stop, not stopped"]
)
def test_a_call_that_is_past_its_deadline_changes_nothing_any_more(late: HeldCall) -> None:
    world = World()
    world.ask(late, 10.0)
    assert not world.sent
    failure = world.answers[0].failure
    assert failure is not None
    assert (failure.reason, failure.started) == ("DEADLINE", int(Started.NO))


def test_a_cancelled_call_may_still_write_what_it_has_to_while_it_stops() -> None:
    world = World()
    world.ask(held(due=16.0, step=Step.DUMP, stopping="CANCELLED"), 10.0)
    assert world.sent[0].timeout_seconds == 6.0


@pytest.mark.parametrize(("due", "given_up"), [(5.0, 5.0 + LATE_SECONDS), (math.inf, ANSWER_SECONDS)], ids=["a deadline", "no deadline"])
def test_an_answer_is_not_waited_for_much_longer_than_the_calls_deadline(due: float, given_up: float) -> None:
    world = World()
    world.ask(held(due=due), 0.0)
    world.state.tick(given_up - 0.01)
    assert not world.answers
    world.state.tick(given_up)
    failure = world.answers[0].failure
    assert failure is not None
    assert (failure.reason, failure.started) == ("REPLICA_LOST", int(Started.MAYBE))
