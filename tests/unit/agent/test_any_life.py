"""Whatever happens, in whatever order: the table of states is walked at random, and what must hold is looked at after each step."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from snakepit_agent.model.actions import Action, Finished, Policy, Start
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.recycling import RecycleLimits, Why, most_at_once
from snakepit_agent.model.seats import TABLE, Seat, SeatEvent, SeatState

MOST_WALKS = 200
"""Of a dozen, some go past a rare row; not of so many."""

STEPS = 3000


class Walk:
    """A lifecycle, the processes that a keeper would have, and the ways in which the world meddles with them."""

    def __init__(self, seed: int, workers: int, *, exclusive: bool) -> None:
        ids = itertools.count(1)
        self.chance = random.Random(seed)
        self.exclusive = exclusive
        limits = RecycleLimits(age=40.0, calls=15, memory=1000)
        self.policy = Policy(workers=workers, limits=limits, drain_timeout=5.0, setup_timeout=10.0)
        self.lifecycle = Lifecycle(self.policy, lambda: f"i{next(ids)}", self.chance.random)
        self.alive: set[str] = set()
        self.finished = False
        self.now = 0.0
        self.follow(self.lifecycle.keeper_came(self.now))

    def follow(self, actions: list[Action]) -> None:
        started = [action.incarnation for action in actions if isinstance(action, Start)]
        assert not self.lifecycle.draining or not started, "nothing starts in a capsule that ends"
        self.alive.update(started)
        self.finished = self.finished or Finished() in actions

    def routable(self) -> int:
        return sum(seat.is_routable for seat in self.lifecycle.seats.current)

    def any(self) -> str:
        return self.chance.choice(sorted(self.alive))

    # ---- what happens

    def die(self) -> None:
        dead = self.any()
        self.alive.discard(dead)
        self.follow(self.lifecycle.died(dead, "Crashed", "signal 9", self.now))

    def become_ready(self) -> None:
        before = self.routable()
        self.follow(self.lifecycle.became_ready(self.any(), 0.1, self.now) or [])
        assert self.routable() >= before, "a successor that becomes ready takes nothing away"

    def end_a_call(self) -> None:
        self.lifecycle.seats.ended_a_call(self.any())

    def grow(self) -> None:
        self.lifecycle.seats.measured(self.any(), 2000, self.chance.randrange(1100))

    def recycle(self) -> None:
        before = self.routable()
        self.follow(self.lifecycle.recycle(self.any(), Why.ASKED, self.now))
        assert self.exclusive or self.routable() == before, "nobody stops serving because a successor was asked for"

    def retire(self) -> None:
        if self.exclusive:
            self.follow(self.lifecycle.retire(self.any(), self.now))

    def tick(self) -> None:
        before = self.routable()
        busy = set(self.alive) if self.chance.random() < 0.5 else set()
        self.follow(self.lifecycle.tick(self.now, busy, self.alive if self.chance.random() < 0.3 else ()))
        assert self.exclusive or self.routable() >= before, "time alone takes nothing away"

    def lose_the_keeper(self) -> None:
        if self.chance.random() < 0.02:
            self.alive.clear()
            self.follow(self.lifecycle.keeper_went())
            self.follow(self.lifecycle.keeper_came(self.now))

    def step(self) -> None:
        self.now += self.chance.random()
        happenings: list[Callable[[], None]] = [self.tick, self.tick, self.lose_the_keeper]
        if self.alive:
            happenings += [self.die, self.become_ready, self.become_ready, self.become_ready, self.end_a_call, self.grow]
            happenings += [self.recycle, self.retire]
        self.chance.choice(happenings)()
        self.check()

    # ---- what must hold

    def check(self) -> None:
        lifecycle = self.lifecycle
        seats = list(lifecycle.seats)
        assert self.alive == {seat.incarnation for seat in seats if seat.has_process}, "we know every process, and no other"
        assert not lifecycle.seats.successors.keys() & lifecycle.seats.leaving.keys(), "three processes of one index"
        for index, seat in enumerate(lifecycle.seats.current):
            assert seat.index == index
            assert (seat.state is SeatState.REPLACING) == (index in lifecycle.seats.successors), "a successor belongs to one that serves"
            assert seat.state not in (SeatState.DRAINING, SeatState.STOPPING, SeatState.STOPPED), "nobody asked for fewer workers"
        if not self.exclusive:
            assert len(lifecycle.seats.successors) + len(lifecycle.seats.leaving) <= most_at_once(self.policy.workers)

    def end(self) -> None:
        self.follow(self.lifecycle.drain(self.now))
        for _ in range(1000):
            if self.finished:
                return
            self.now += 1.0
            self.follow(self.lifecycle.tick(self.now, self.alive if self.chance.random() < 0.5 else ()))
            if self.alive and self.chance.random() < 0.5:
                self.die()
        raise AssertionError("the drain never ended")


@pytest.mark.parametrize("exclusive", [False, True], ids=["shared", "exclusive"])
@pytest.mark.parametrize("workers", [1, 3, 8])
def test_capacity_never_falls_for_recycling_no_index_has_three_processes_and_a_drain_ends(workers: int, exclusive: bool) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    walk = Walk(seed, workers, exclusive=exclusive)
    for _ in range(STEPS):
        walk.step()
    walk.end()
    assert not walk.alive


@contextlib.contextmanager
def rows_gone_through() -> Iterator[set[tuple[SeatState, SeatEvent]]]:
    """The interpreter tells of each call of `Seat.move`."""
    gone: set[tuple[SeatState, SeatEvent]] = set()

    def told(frame: FrameType, what: str, _: object) -> None:
        if what == "call" and frame.f_code is Seat.move.__code__:
            gone.add((frame.f_locals["self"].state, frame.f_locals["event"]))

    sys.setprofile(told)
    try:
        yield gone
    finally:
        sys.setprofile(None)


def test_the_walk_goes_through_every_row_of_the_table() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    rows = {(state, event) for state, row in TABLE.items() for event in row}
    with rows_gone_through() as gone:
        for part in range(MOST_WALKS):
            if gone >= rows:
                break
            walk = Walk(seed + part, 3, exclusive=part % 2 == 1)
            for _ in range(STEPS):
                walk.step()
            drained = walk.lifecycle.seats.current[0]
            walk.follow(walk.lifecycle.drain_worker(drained.incarnation, walk.now))
            if part % 3:
                walk.alive.clear()
                walk.follow(walk.lifecycle.keeper_went())
            if part % 3 == 1:
                walk.follow(walk.lifecycle.keeper_came(walk.now))
            walk.end()
    assert rows - gone == set()
