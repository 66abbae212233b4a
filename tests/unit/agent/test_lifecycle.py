"""The rules for restart, backoff, drain and stop, with time as an argument."""

from __future__ import annotations

import itertools
import signal

from snakepit_agent.link.report import report
from snakepit_agent.model.actions import Action, Close, Finished, Policy, Signal, Start, Stop
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.seats import TABLE, Seat, SeatEvent, SeatState
from snakepit_agent.model.slots import Ledger


class World:
    """A lifecycle, and what it has asked for."""

    def __init__(self, workers: int = 1, *, keeper: bool = True, **policy: float) -> None:
        ids = itertools.count(1)
        self.lifecycle = Lifecycle(Policy(workers=workers, **policy), lambda: f"i{next(ids)}")  # type: ignore[arg-type]
        self.asked: list[Action] = []
        if keeper:
            self.do(self.lifecycle.keeper_came(0.0))

    @property
    def seat(self) -> Seat:
        return self.lifecycle.seats.current[0]

    def do(self, actions: list[Action]) -> list[Action]:
        self.asked += actions
        return actions

    def ready(self, now: float = 0.0) -> None:
        for seat in self.lifecycle.seats.current:
            if seat.state is SeatState.STARTING:
                assert self.lifecycle.became_ready(seat.incarnation, 0.1, now) == []

    def die(self, now: float) -> list[Action]:
        return self.do(self.lifecycle.died(self.seat.incarnation, "Crashed", "exit code 1", now))


def test_a_keeper_that_comes_gets_every_worker_to_start() -> None:
    world = World(3)
    assert world.asked == [Start(0, "i1"), Start(1, "i2"), Start(2, "i3")]
    assert not world.lifecycle.seats.is_ready
    world.ready()
    assert world.lifecycle.seats.is_ready


def test_a_worker_whose_container_never_connected_says_so() -> None:
    frame = report(1, "capsule", 1, World(keeper=False).lifecycle, Ledger(), 0.0)
    assert "does not run snakepit-keeper" in frame.report.workers[0].message


def test_a_worker_that_dies_of_a_call_is_replaced_at_once_however_often() -> None:
    world = World()
    for life in range(20):
        world.ready(life)
        world.lifecycle.seats.ended_a_call(world.seat.incarnation)
        assert world.die(life + 0.1) == [Start(0, f"i{life + 2}")]
    assert world.seat.lives == 21


def test_more_exits_than_allowed_before_a_first_call_lead_to_backoff() -> None:
    world = World()
    for at in (0.1, 0.2, 0.3):
        world.ready(at)
        assert world.die(at) != []
    world.ready(0.4)
    assert world.die(0.4) == []
    assert world.seat.state is SeatState.BACKOFF
    assert (world.seat.reason, world.seat.message) == ("Crashed", "the worker ended: exit code 1")
    assert world.lifecycle.tick(1.3, ()) == []
    assert world.lifecycle.tick(1.4, ()) == [Start(0, "i5")]


def test_exits_further_apart_than_the_window_don_t_count_together() -> None:
    world = World()
    for at in (0.0, 6.0, 12.0, 18.0, 24.0, 30.0):
        world.ready(at)
        assert world.die(at) != []


def test_a_slow_setup_that_fails_backs_off_too() -> None:
    world = World()
    for at in (10.0, 20.0, 30.0):
        world.lifecycle.seats.could_not_start(world.seat.incarnation, "SetupFailed", "RuntimeError: no model")
        assert world.die(at) != []
    world.lifecycle.seats.could_not_start(world.seat.incarnation, "SetupFailed", "RuntimeError: no model")
    assert world.die(40.0) == []
    assert (world.seat.reason, world.seat.message) == ("SetupFailed", "RuntimeError: no model")


def test_backoff_doubles_to_a_minute_and_a_healthy_minute_resets_it() -> None:
    world = World(max_restarts=0)
    now, pauses = 0.0, []
    for _ in range(9):
        assert world.die(now) == []
        pauses.append(world.seat.backoff)
        now += world.seat.backoff
        assert len(world.do(world.lifecycle.tick(now, ()))) == 1
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    world.ready(now)
    world.lifecycle.tick(now + 60.0, ())
    assert world.seat.backoff == 0.0
    world.die(now + 61.0)
    assert world.seat.backoff == 1.0


def test_other_workers_go_on_while_one_backs_off() -> None:
    world = World(2, max_restarts=0)
    world.die(0.1)
    assert world.seat.state is SeatState.BACKOFF
    world.lifecycle.became_ready("i2", 0.1, 0.2)
    assert world.lifecycle.seats.is_ready


def test_the_reason_of_the_last_life_stays_until_the_next_is_ready() -> None:
    world = World()
    world.lifecycle.seats.could_not_start("i1", "ImportFailed", "ModuleNotFoundError: no digits")
    world.die(0.1)
    assert (world.seat.state, world.seat.reason) == (SeatState.STARTING, "ImportFailed")
    world.ready(0.2)
    assert (world.seat.reason, world.seat.message) == ("", "")
    assert world.seat.ended == "ImportFailed: ModuleNotFoundError: no digits"
    world.die(100.0)
    world.ready(100.1)
    (worker,) = report(1, "digits-0", 1, world.lifecycle, Ledger(), 101.0).report.workers
    assert worker.ended == "Crashed: the worker ended: exit code 1"


def test_a_setup_that_does_not_return_is_dumped_and_then_killed_once() -> None:
    world = World(setup_timeout=10.0)
    assert world.lifecycle.tick(9.9, ()) == []
    assert world.lifecycle.tick(10.0, ()) == [Signal("i1", signal.SIGUSR1, group=False)]
    assert world.lifecycle.tick(10.1, ()) == []
    assert world.lifecycle.tick(10.5, ()) == [Signal("i1", signal.SIGKILL)]
    assert world.lifecycle.tick(11.0, ()) == []
    world.die(11.1)
    assert world.seat.reason == "SetupTimeout"


def test_a_worker_that_has_said_why_it_can_t_start_and_does_not_end_is_killed_and_its_own_word_counts() -> None:
    world = World(max_restarts=0, kill_after=6.0)
    world.lifecycle.seats.could_not_start("i1", "SetupFailed", "RuntimeError: no model")
    assert world.lifecycle.tick(1.0, ()) == []
    (told,) = report(1, "capsule", 1, world.lifecycle, Ledger(), 2.0).report.workers
    assert (told.reason, told.message) == ("SetupFailed", "RuntimeError: no model")
    assert world.lifecycle.tick(6.9, ()) == []
    assert world.lifecycle.tick(7.0, ()) == [Signal("i1", signal.SIGKILL)]
    assert world.lifecycle.tick(7.1, ()) == []
    world.die(7.2)
    assert (world.seat.state, world.seat.reason, world.seat.message) == (SeatState.BACKOFF, "SetupFailed", "RuntimeError: no model")


def test_a_drain_waits_for_calls_then_stops_then_finishes() -> None:
    world = World()
    world.ready()
    assert world.lifecycle.drain(1.0) == [Close("i1")]
    assert world.lifecycle.drain(1.1) == []
    assert world.lifecycle.tick(2.0, {"i1"}) == []
    assert world.lifecycle.tick(3.0, ()) == [Stop("i1")]
    assert world.die(3.5) == [Finished()]
    assert world.seat.state is SeatState.STOPPED


def test_a_call_beyond_the_drain_gets_term_and_then_kill() -> None:
    world = World(drain_timeout=60.0, kill_after=6.0)
    world.ready()
    world.lifecycle.drain(0.0)
    assert world.lifecycle.tick(59.9, {"i1"}) == []
    assert world.lifecycle.tick(60.0, {"i1"}) == [Signal("i1", signal.SIGTERM)]
    assert world.lifecycle.tick(65.9, {"i1"}) == []
    assert world.lifecycle.tick(66.0, {"i1"}) == [Signal("i1", signal.SIGKILL)]
    assert world.lifecycle.tick(70.0, {"i1"}) == []


def test_a_teardown_that_hangs_is_ended_like_a_call_that_hangs() -> None:
    world = World(drain_timeout=60.0, kill_after=6.0)
    world.ready()
    world.lifecycle.drain(0.0)
    world.lifecycle.tick(1.0, ())
    assert world.lifecycle.tick(60.0, ()) == [Signal("i1", signal.SIGTERM)]
    assert world.lifecycle.tick(66.0, ()) == [Signal("i1", signal.SIGKILL)]


def test_a_worker_in_setup_is_ended_at_once_when_the_capsule_drains() -> None:
    world = World(kill_after=6.0)
    assert world.lifecycle.drain(5.0) == [Signal("i1", signal.SIGTERM)]
    assert world.lifecycle.tick(11.0, ()) == [Signal("i1", signal.SIGKILL)]
    assert world.die(11.1) == [Finished()]


def test_a_ready_that_comes_after_the_drain_is_too_late() -> None:
    world = World()
    world.lifecycle.drain(0.1)
    assert world.lifecycle.became_ready("i1", 0.1, 0.2) is None


def test_without_a_keeper_a_drain_is_over_at_once() -> None:
    assert World(keeper=False).lifecycle.drain(0.0) == [Finished()]


def test_a_worker_that_backs_off_is_not_started_again_in_a_drain() -> None:
    world = World(max_restarts=0)
    world.die(0.1)
    assert world.lifecycle.drain(0.2) == [Finished()]
    assert world.lifecycle.tick(100.0, ()) == []


def test_a_lost_keeper_is_no_fault_of_the_workers() -> None:
    world = World(max_restarts=0)
    for _ in range(5):
        world.ready()
        assert world.lifecycle.keeper_went() == []
        assert world.seat.reason == "KeeperLost"
        assert len(world.lifecycle.keeper_came(1.0)) == 1


def test_a_drained_worker_is_replaced_when_it_has_ended_and_that_is_no_fault_of_it() -> None:
    world = World()
    world.ready()
    assert world.lifecycle.drain_worker("i1", 2.0) == [Close("i1")]
    assert world.lifecycle.tick(2.1, ()) == [Stop("i1")]
    assert world.die(2.2) == [Start(0, "i2")]
    assert world.seat.state is SeatState.STARTING
    assert not world.seat.failures


def test_a_worker_that_is_drained_while_the_capsule_ends_or_its_keeper_has_gone_is_not_replaced() -> None:
    ending, alone = World(), World()
    for world in (ending, alone):
        world.ready()
        world.lifecycle.drain_worker("i1", 2.0)
    ending.lifecycle.drain(2.1)
    assert ending.die(2.2) == [Finished()]
    assert alone.lifecycle.keeper_went() == []
    assert alone.seat.state is SeatState.STOPPED
    assert alone.lifecycle.keeper_came(2.3) == [Start(0, "i2")]


def test_the_death_of_a_former_incarnation_changes_nothing() -> None:
    world = World()
    world.ready()
    assert world.lifecycle.died("i0", "Crashed", "signal 9", 1.0) == []
    assert world.seat.state is SeatState.READY


def test_the_table_knows_every_state_and_leads_only_to_states() -> None:
    assert set(TABLE) == set(SeatState)
    assert {event for row in TABLE.values() for event in row} == set(SeatEvent)
