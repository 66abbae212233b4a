"""Slots are never exceeded, short calls go ahead, and everything admitted leaves exactly once."""

from __future__ import annotations

import math
import random
import time

import pytest

from snakepit_agent.model.call import HeldCall, Step
from snakepit_agent.model.slots import AHEAD_CALLS, NEXT_SECONDS, SOON_SECONDS, Ledger


def call(ledger: Ledger, worker: str = "w", replica: str = "r", tool: str = "t", due: float = math.inf) -> HeldCall:
    id_ = ledger.next_id()
    return HeldCall(id_, 1000 + id_, replica, worker, f"c{id_}", tool, due=due)


def admit(ledger: Ledger, now: float = 0.0, *, ahead: bool = False, **fields: object) -> HeldCall:
    held = call(ledger, **fields)  # type: ignore[arg-type]
    assert ledger.refusal(held.incarnation, held.tool, ahead=ahead) == ""
    ledger.admit(held, now)
    return held


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.open("w", 1)
    return ledger


def learn(ledger: Ledger, tool: str, seconds: float) -> None:
    ledger.finish(admit(ledger, tool=tool).id, seconds, 0.0)


def test_a_worker_takes_as_many_calls_of_an_unknown_tool_as_it_has_slots(ledger: Ledger) -> None:
    ledger.open("wide", 3)
    for _ in range(3):
        admit(ledger, worker="wide")
    assert ledger.refusal("wide", "t") == "NO_SLOT"


def test_unknown_and_closed_workers_refuse_with_their_own_reason(ledger: Ledger) -> None:
    assert ledger.refusal("nobody", "t") == "WORKER_GONE"
    ledger.close("w")
    assert ledger.refusal("w", "t") == "DRAINING"


def test_a_slow_tool_is_never_sent_ahead(ledger: Ledger) -> None:
    learn(ledger, "slow", NEXT_SECONDS)
    admit(ledger, tool="slow")
    assert ledger.refusal("w", "slow") == "NO_SLOT"


@pytest.mark.parametrize(("seconds", "ahead"), [(SOON_SECONDS / 3, False), (NEXT_SECONDS / 3, True)])
def test_of_a_tool_of_some_milliseconds_one_call_goes_ahead(ledger: Ledger, seconds: float, ahead: bool) -> None:
    learn(ledger, "some", seconds)
    admit(ledger, tool="some")
    admit(ledger, tool="some", ahead=ahead)
    assert ledger.refusal("w", "some", ahead=ahead) == "NO_SLOT"


def test_a_call_that_counts_on_a_slot_is_refused_where_one_that_goes_ahead_may_wait(ledger: Ledger) -> None:
    learn(ledger, "some", NEXT_SECONDS / 3)
    admit(ledger, tool="some")
    assert ledger.refusal("w", "some") == "NO_SLOT"


def test_a_short_tool_goes_ahead_until_about_a_millisecond_waits(ledger: Ledger) -> None:
    learn(ledger, "short", 0.0001)
    admitted = 0
    while not ledger.refusal("w", "short"):
        admit(ledger, tool="short")
        admitted += 1
    assert 9 <= admitted <= 11


def test_nothing_goes_ahead_of_a_slow_call_however_short_it_is(ledger: Ledger) -> None:
    learn(ledger, "short", 0.0001)
    admit(ledger, tool="unknown")
    assert ledger.refusal("w", "short") == "NO_SLOT"


def test_what_waits_is_bounded_however_short_the_tool_is(ledger: Ledger) -> None:
    learn(ledger, "instant", 0.0)
    for _ in range(1 + AHEAD_CALLS):
        admit(ledger, tool="instant")
    assert ledger.refusal("w", "instant") == "NO_SLOT"


def test_a_call_that_has_ended_is_unknown_the_second_time(ledger: Ledger) -> None:
    held = admit(ledger)
    assert ledger.finish(held.id, 0.1, 1.0) is held
    assert ledger.finish(held.id, 0.1, 1.0) is None
    assert ledger.find("r", held.remote) is None


def test_an_answered_call_keeps_its_slot_and_counts_as_elsewhere_for_its_own_replica(ledger: Ledger) -> None:
    held = admit(ledger)
    worker = ledger.workers["w"]
    assert (worker.elsewhere("r"), worker.elsewhere("other")) == (0, 1)
    ledger.answer(held)
    assert (worker.elsewhere("r"), worker.elsewhere("other")) == (1, 1)
    assert ledger.refusal("w", "t") == "NO_SLOT"
    ledger.finish(held.id, 0.1, 1.0)
    assert (worker.elsewhere("r"), worker.elsewhere("other")) == (0, 0)
    assert held.answered


def test_each_step_of_an_overdue_call_is_told_once_and_in_order(ledger: Ledger) -> None:
    held = admit(ledger, due=10.0)
    assert list(ledger.overdue(9.9)) == []
    assert list(ledger.overdue(10.0)) == [(held, Step.DEADLINE)]
    held.stop_by("DEADLINE", 16.0, answer_at=10.1)
    assert list(ledger.overdue(10.0)) == []
    assert list(ledger.overdue(10.06)) == [(held, Step.LOOK)]
    assert list(ledger.overdue(10.1)) == []
    assert list(ledger.overdue(10.12)) == [(held, Step.ANSWER)]
    assert list(ledger.overdue(15.9)) == []
    assert list(ledger.overdue(16.0)) == [(held, Step.DUMP)]
    assert list(ledger.overdue(16.1)) == []
    assert list(ledger.overdue(16.5)) == [(held, Step.KILL)]
    assert list(ledger.overdue(1e9)) == []


def test_whoever_needs_no_answer_is_not_answered(ledger: Ledger) -> None:
    held = admit(ledger)
    held.stop_by("CANCELLED", 16.0)
    assert list(ledger.overdue(16.0)) == [(held, Step.DUMP)]


def test_only_a_worker_without_progress_is_crowded(ledger: Ledger) -> None:
    learn(ledger, "short", 0.0001)
    first = admit(ledger, tool="short", now=1.0)
    admit(ledger, tool="short", now=1.0)
    assert ledger.crowded(1.004) == []
    assert ledger.crowded(1.006) == ["w"]
    ledger.finish(first.id, 0.0001, 1.006)
    assert ledger.crowded(1.1) == []


def test_whatever_happens_slots_and_counts_stay_true() -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    ledger = Ledger()
    slots = {"a": 1, "b": 4}
    for worker, count in slots.items():
        ledger.open(worker, count)
    live: list[HeldCall] = []
    admitted: list[HeldCall] = []
    for step in range(5000):
        now = step / 1000
        action = chance.random()
        if action < 0.5:
            worker, tool = chance.choice(["a", "b", "gone"]), chance.choice(["slow", "short"])
            if not ledger.refusal(worker, tool):
                held = call(ledger, worker, chance.choice(["r1", "r2"]), tool)
                ledger.admit(held, now)
                live.append(held)
                admitted.append(held)
        elif live:
            held = live.pop(chance.randrange(len(live)))
            if action < 0.8:
                assert ledger.finish(held.id, 0.5 if held.tool == "slow" else 0.0001, now) is held
            elif action < 0.9:
                assert ledger.release(held.id) is held
            else:
                ledger.answer(held)
                live.append(held)
        check(ledger, slots, live)
    for worker in slots:
        ledger.remove(worker)
    assert not ledger.calls
    assert not any(ledger.find(held.replica, held.remote) for held in admitted)


def check(ledger: Ledger, slots: dict[str, int], live: list[HeldCall]) -> None:
    assert set(ledger.calls) == {held.id for held in live}
    for name, worker in ledger.workers.items():
        assert len([held for held in worker.held.values() if held.tool == "slow"]) <= slots[name]
        assert worker.backlog == pytest.approx(sum(held.estimate for held in worker.held.values()), abs=1e-6)
        for replica in ("r1", "r2"):
            own = sum(1 for held in worker.held.values() if held.replica == replica and not held.answered)
            assert worker.elsewhere(replica) == len(worker.held) - own


def test_a_replica_whose_call_went_back_hears_at_once_that_a_slot_is_free(ledger: Ledger) -> None:
    held = admit(ledger, replica="one")
    ledger.release(held.id)
    ledger.refused("w", "one")
    ledger.gave_back("w", "one")
    assert ledger.owed == {("one", "w")}, "no call of its own will end there"
    assert ledger.touched == {"w"}


def test_a_replica_whose_call_went_back_from_behind_another_hears_when_that_one_ends(ledger: Ledger) -> None:
    running = admit(ledger, replica="one", tool="t")
    ledger.refused("w", "two")
    ledger.gave_back("w", "two")
    assert not ledger.owed
    ledger.finish(running.id, 0.0, 0.0)
    assert ledger.owed == {("two", "w")}


def test_a_refused_replica_is_owed_word_when_a_call_of_another_ends_even_if_the_count_is_what_it_was(ledger: Ledger) -> None:
    held = admit(ledger, replica="one")
    ledger.refused("w", "other")
    ledger.refused("w", "one")
    assert not ledger.owed
    ledger.finish(held.id, 0.1, 1.0)
    assert ledger.owed == {("other", "w")}, "the result itself is the word for the first"
    assert "w" in ledger.touched


def test_a_worker_that_ends_nothing_for_long_is_looked_at_now_and_then(ledger: Ledger) -> None:
    admit(ledger, now=1.0)
    assert ledger.stuck(1.4) == []
    assert ledger.stuck(1.6) == ["w"]
    assert ledger.stuck(1.7) == []
    assert ledger.stuck(2.2) == ["w"]


def test_a_replica_that_was_refused_hears_when_a_suspension_ends(ledger: Ledger) -> None:
    ledger.suspend("w", True)
    assert ledger.refusal("w", "t") == "NO_SLOT"
    ledger.refused("w", "r")
    ledger.touched.clear()
    ledger.suspend("w", True)
    assert (ledger.owed, ledger.touched) == (set(), set())
    ledger.suspend("w", False)
    assert (ledger.owed, ledger.touched) == ({("r", "w")}, {"w"})
    ledger.owed.clear()
    ledger.suspend("w", True)
    ledger.suspend("w", False)
    assert ledger.owed == set(), "it was told, and asked for nothing since"
