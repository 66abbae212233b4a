"""A worker that is well gives its place to a fresh one: when, how many at a time, and what becomes of both."""

from __future__ import annotations

import itertools
import signal

import pytest

from snakepit.v1 import pool_pb2
from snakepit_agent.link.report import report
from snakepit_agent.model.actions import Action, Close, Finished, Policy, Signal, Start, Stop
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.recycling import RecycleLimits, Why
from snakepit_agent.model.seats import Seat, SeatState
from snakepit_agent.model.slots import Ledger


class World:
    """Workers that are ready since 0, named i1, i2, ...; no jitter unless `chance` says so."""

    def __init__(self, workers: int = 1, limits: RecycleLimits = RecycleLimits(), chance: float = 0.0) -> None:  # noqa: B008  # frozen
        ids = itertools.count(1)
        self.lifecycle = Lifecycle(Policy(workers=workers, limits=limits), lambda: f"i{next(ids)}", lambda: chance)
        self.lifecycle.keeper_came(0.0)
        for seat in self.lifecycle.seats.current:
            assert self.lifecycle.became_ready(seat.incarnation, 0.1, 0.0) == []

    @property
    def seat(self) -> Seat:
        return self.lifecycle.seats.current[0]

    def ask(self, now: float, incarnation: str = "i1") -> list[Action]:
        return self.lifecycle.recycle(incarnation, Why.ASKED, now)

    def fail_to_start(self, incarnation: str, now: float) -> list[Action]:
        self.lifecycle.seats.could_not_start(incarnation, "SetupFailed", "RuntimeError: no model", "Traceback ...")
        return self.lifecycle.died(incarnation, "Crashed", "exit code 1", now)

    def told(self, now: float) -> pool_pb2.Worker:
        return report(1, "capsule", 1, self.lifecycle, Ledger(), now).report.workers[0]


def test_the_successor_is_ready_before_the_old_one_takes_no_more_calls() -> None:
    world = World()
    assert world.ask(1.0) == [Start(0, "i2")]
    assert (world.seat.incarnation, world.seat.is_routable) == ("i1", True)
    assert world.lifecycle.became_ready("i2", 0.1, 2.0) == [Close("i1", keep=True)]
    assert (world.seat.incarnation, world.seat.is_routable) == ("i2", True)
    assert world.seat.ended.startswith("Recycled: ")
    assert world.lifecycle.tick(3.0, {"i1"}) == []
    assert world.lifecycle.tick(4.0, ()) == [Stop("i1")]
    assert world.lifecycle.died("i1", "Crashed", "exit code 0", 4.1) == []
    assert not world.lifecycle.seats.leaving
    assert world.lifecycle.recycled == {"asked": 1}


def test_sessions_that_need_the_old_one_keep_it_until_the_drain_is_over_and_then_it_tears_down() -> None:
    world = World()
    world.ask(1.0)
    world.lifecycle.became_ready("i2", 0.1, 2.0)
    assert world.lifecycle.tick(61.0, (), {"i1"}) == []
    assert world.lifecycle.tick(62.0, (), {"i1"}) == [Stop("i1")]
    assert world.lifecycle.tick(67.9, ()) == []
    assert world.lifecycle.tick(68.0, ()) == [Signal("i1", signal.SIGTERM)]


def test_a_call_that_does_not_end_within_the_drain_is_ended_with_the_old_one() -> None:
    world = World()
    world.ask(1.0)
    world.lifecycle.became_ready("i2", 0.1, 2.0)
    assert world.lifecycle.tick(62.0, {"i1"}) == [Signal("i1", signal.SIGTERM)]
    assert world.lifecycle.tick(68.0, {"i1"}) == [Signal("i1", signal.SIGKILL)]


def test_a_successor_that_can_t_start_leaves_the_old_one_serving_which_says_so_and_is_tried_again_ever_later() -> None:
    world = World()
    world.ask(1.0)
    assert world.told(1.0).reason == "Recycling"
    assert world.fail_to_start("i2", 1.1) == []
    worker = world.told(1.2)
    assert (worker.state, worker.incarnation, worker.reason) == (pool_pb2.WORKER_STATE_READY, "i1", "SuccessorFailed")
    assert worker.message.endswith("SetupFailed: RuntimeError: no model")
    assert worker.traceback == "Traceback ..."
    assert world.lifecycle.tick(2.0, ()) == []
    assert world.lifecycle.tick(2.1, ()) == [Start(0, "i3")]
    world.fail_to_start("i3", 2.2)
    assert world.lifecycle.tick(4.1, ()) == []
    assert world.lifecycle.tick(4.2, ()) == [Start(0, "i4")]
    assert world.lifecycle.became_ready("i4", 0.1, 4.3) == [Close("i1", keep=True)]
    assert world.told(4.3).reason == ""


def test_who_asks_again_for_a_successor_that_can_t_start_has_it_tried_at_once() -> None:
    world = World()
    world.ask(1.0)
    world.fail_to_start("i2", 1.1)
    world.ask(1.2)
    assert world.lifecycle.tick(1.3, ()) == [Start(0, "i3")]


def test_who_asks_while_the_successor_starts_gets_another_one_after_it() -> None:
    world = World()
    world.ask(1.0)
    assert world.ask(1.1) == []
    world.lifecycle.became_ready("i2", 0.1, 1.2)
    world.lifecycle.tick(1.3, ())
    world.lifecycle.died("i1", "Crashed", "exit code 0", 1.4)
    assert world.lifecycle.tick(1.5, ()) == [Start(0, "i3")]


def test_a_worker_that_can_t_start_is_tried_at_once_by_who_asks_for_another() -> None:
    world = World()
    world.lifecycle.policy = Policy(workers=1, max_restarts=0)
    world.fail_to_start("i1", 1.0)
    assert world.seat.state is SeatState.BACKOFF
    assert world.ask(1.1) == [Start(0, "i2")]


def test_an_old_one_that_dies_while_its_successor_starts_has_it_for_its_replacement() -> None:
    world = World()
    world.ask(1.0)
    assert world.lifecycle.died("i1", "Crashed", "signal 9", 1.1) == []
    assert (world.seat.incarnation, world.seat.state) == ("i2", SeatState.STARTING)
    assert world.lifecycle.became_ready("i2", 0.1, 1.2) == []


def test_an_old_one_that_dies_while_its_successor_can_t_start_is_replaced_at_once() -> None:
    world = World()
    world.ask(1.0)
    world.fail_to_start("i2", 1.1)
    assert world.lifecycle.died("i1", "Crashed", "signal 9", 1.2) == [Start(0, "i3")]


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (RecycleLimits(age=100.0, jitter=0.0), "age"),
        (RecycleLimits(calls=3, jitter=0.0), "calls"),
        (RecycleLimits(memory=1000, jitter=0.0), "memory"),
    ],
    ids=["age", "calls", "memory"],
)
def test_each_limit_recycles_a_worker_that_reaches_it_and_not_before(limits: RecycleLimits, why: str) -> None:
    world = World(limits=limits)
    for _ in range(2):
        world.lifecycle.seats.ended_a_call("i1")
    world.lifecycle.seats.measured("i1", 5000, 999)
    assert world.lifecycle.tick(99.9, ()) == []
    world.lifecycle.seats.ended_a_call("i1")
    world.lifecycle.seats.measured("i1", 5000, 1000)
    assert world.lifecycle.tick(100.0, ()) == [Start(0, "i2")]
    world.lifecycle.became_ready("i2", 0.1, 100.1)
    assert world.lifecycle.recycled == {why: 1}


def test_a_worker_that_is_too_large_before_its_first_call_is_left_alone_as_its_successor_would_be_no_smaller() -> None:
    world = World(limits=RecycleLimits(memory=1000))
    world.lifecycle.seats.measured("i1", 5000, 5000)
    assert world.lifecycle.tick(1.0, ()) == []


def test_jitter_takes_up_to_its_share_off_each_limit_and_draws_anew_in_each_life() -> None:
    world = World(limits=RecycleLimits(age=100.0, jitter=0.2), chance=0.5)
    assert world.lifecycle.tick(89.9, ()) == []
    assert world.lifecycle.tick(90.0, ()) == [Start(0, "i2")]
    draws = iter([0.0, 0.25, 0.5, 0.75, 1.0])
    limits, names = RecycleLimits(calls=100, jitter=0.5), itertools.count(1)
    lifecycle = Lifecycle(Policy(workers=5, limits=limits), lambda: f"i{next(names)}", lambda: next(draws))
    lifecycle.keeper_came(0.0)
    assert [seat.share * limits.calls for seat in lifecycle.seats.current] == [100, 87.5, 75, 62.5, 50]


def test_a_quarter_of_the_workers_at_most_have_two_processes_and_the_others_have_their_turn_then() -> None:
    world = World(8)
    started = [action for seat in list(world.lifecycle.seats.current) for action in world.ask(1.0, seat.incarnation)]
    assert started == [Start(0, "i9"), Start(1, "i10")]
    assert world.lifecycle.tick(2.0, ()) == []
    world.lifecycle.became_ready("i9", 0.1, 3.0)
    assert world.lifecycle.tick(3.1, {"i1"}) == []
    world.lifecycle.tick(3.2, ())
    world.lifecycle.died("i1", "Crashed", "exit code 0", 3.3)
    assert world.lifecycle.tick(3.4, ()) == [Start(2, "i11")]


def test_a_drain_of_the_capsule_ends_old_ones_and_successors_too() -> None:
    world = World(2)
    world.ask(1.0)
    assert world.lifecycle.drain(2.0) == [Close("i1"), Close("i2"), Signal("i3", signal.SIGTERM)]
    world.lifecycle.tick(2.1, ())
    assert [world.lifecycle.died(each, "Crashed", "exit code 0", 3.0) for each in ("i3", "i1", "i2")] == [[], [], [Finished()]]


def test_a_worker_that_is_drained_while_it_is_recycled_is_replaced_once() -> None:
    world = World()
    world.ask(1.0)
    assert world.lifecycle.drain_worker("i1", 2.0) == [Close("i1"), Signal("i2", signal.SIGTERM)]
    world.lifecycle.tick(2.1, ())
    assert world.lifecycle.died("i2", "Crashed", "signal 15", 2.2) == []
    assert world.lifecycle.died("i1", "Crashed", "exit code 0", 2.3) == [Start(0, "i3")]
    assert not world.lifecycle.seats.successors


def test_a_worker_that_has_served_its_session_is_closed_at_once_and_its_place_taken_by_one_that_starts() -> None:
    world = World()
    assert world.lifecycle.retire("i1", 1.0) == [Close("i1"), Start(0, "i2")]
    assert world.lifecycle.tick(1.1, ()) == [Stop("i1")]
    world.lifecycle.became_ready("i2", 0.1, 1.2)
    assert world.lifecycle.retire("i2", 1.3) == [Close("i2")], "i1 has not ended, and three processes would be too many"
    assert world.lifecycle.tick(1.4, ()) == []
    world.lifecycle.died("i1", "Crashed", "exit code 0", 1.5)
    assert world.lifecycle.tick(1.6, ()) == [Close("i2"), Start(0, "i3")]
    assert world.lifecycle.recycled == {"session": 2}


def test_a_second_wish_to_end_shortens_the_drain() -> None:
    world = World()
    world.lifecycle.drain(0.0)
    assert world.lifecycle.tick(1.0, {"i1"}) == []
    world.lifecycle.hurry(2.0)
    assert world.lifecycle.tick(2.0, {"i1"}) == [Signal("i1", signal.SIGTERM)]
    world.lifecycle.hurry(3.0)
    assert world.lifecycle.tick(7.9, {"i1"}) == []
    assert world.lifecycle.tick(8.0, {"i1"}) == [Signal("i1", signal.SIGKILL)]


def test_a_keeper_that_goes_takes_successors_and_old_ones_along() -> None:
    world = World(2)
    world.ask(1.0)
    world.lifecycle.keeper_went()
    assert [seat.state for seat in world.lifecycle.seats] == [SeatState.ABSENT, SeatState.ABSENT]
    assert len(world.lifecycle.keeper_came(2.0)) == 2


def test_lives_that_go_on_draw_their_share_anew_when_the_jitter_is_another_one() -> None:
    world = World(limits=RecycleLimits(age=100.0, jitter=0.0), chance=0.5)
    assert world.lifecycle.tick(60.0, ()) == []
    world.lifecycle.configure(Policy(workers=1, limits=RecycleLimits(age=100.0, jitter=0.8)))
    assert world.seat.share == 0.6
    assert world.lifecycle.tick(60.0, ()) == [Start(0, "i2")]
