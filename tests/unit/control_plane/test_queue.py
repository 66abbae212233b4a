"""Who leaves the queue next: callers take turns, priority counts within them, and nobody waits for ever. Pure, and random by hypothesis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.queue import PoolQueue
from support.calls import make_call
from support.memory import kept_bytes

HIGH, NORMAL, LOW = common_pb2.PRIORITY_HIGH, common_pb2.PRIORITY_NORMAL, common_pb2.PRIORITY_LOW
AGE = 1.0


class Exit:
    """A queue and a hand that takes calls out of it, as a free worker would."""

    def __init__(self, age_seconds: float = AGE) -> None:
        self.queue = PoolQueue(1000, age_seconds)
        self.now = 0.0
        self.arrivals = 0
        capsule = Capsule("c", "1", "default/p", "", 0.0)
        self.worker = Worker(capsule, pool_pb2.Worker(id="c/0", incarnation="0"))

    def push(self, caller: str, priority: common_pb2.Priority = NORMAL, pin: Worker | None = None) -> Call:
        self.arrivals += 1
        call = make_call(caller, now=self.now, priority=priority)
        call.arrival = self.arrivals
        self.queue.push(call, self.now, pin)
        return call

    def pick(self) -> Call | None:
        """As `Dispatcher.freed` does with one slot."""
        call = self.queue.next_for(self.worker, self.now) or self.queue.anybody.head(self.now)
        call = call or self.queue.next_for(self.worker, self.now, alone=True)
        if call is not None:
            self.queue.turn(call, self.worker)
            self.queue.leave(call, self.now)
        return call

    def again(self, call: Call) -> None:
        """The agent gave it back unstarted."""
        self.queue.push(call, self.now)

    def order(self) -> str:
        """The callers of all that waits, in the order in which they leave."""
        return "".join(iter(lambda: str(getattr(getattr(self.pick(), "request", None), "caller", "")), ""))


def its(call: Call) -> tuple[object, int]:
    """Caller and rank."""
    return call.request.caller, call.request.rank


def test_calls_of_one_caller_leave_in_the_order_in_which_they_came() -> None:
    exit = Exit()
    calls = [exit.push("a") for _ in range(5)]
    assert [exit.pick() for _ in calls] == calls


def test_a_caller_with_many_calls_and_one_with_few_alternate() -> None:
    exit = Exit()
    for caller in "aaaaaabbc":
        exit.push(caller)
    assert exit.order() == "abcabaaaa"


def test_a_caller_that_comes_again_and_again_gets_no_more_than_its_turn() -> None:
    exit = Exit()
    for _ in range(10):
        exit.push("a")
    served = []
    exit.push("b")
    for _ in range(10):
        call = exit.pick()
        assert call is not None
        served.append(call.request.caller)
        if call.request.caller == "b":
            exit.push("b")
    assert served == ["a", "b"] * 5


def test_a_stream_of_callers_that_never_were_here_before_does_not_hold_up_those_that_wait() -> None:
    exit = Exit()
    exit.push("a")
    last = exit.push("a")
    for number in range(100):
        exit.push(f"new{number}")
        exit.push(f"newer{number}")
        if exit.pick() is last:
            return
    raise AssertionError("the first caller's second call never left")


def test_a_call_that_comes_back_unstarted_goes_before_those_that_were_not_chosen_yet() -> None:
    exit = Exit()
    first, second, third = exit.push("a"), exit.push("a"), exit.push("b")
    assert (exit.pick(), exit.pick()) == (first, third)
    exit.again(third)
    exit.again(first)
    assert [exit.pick() for _ in range(3)] == [first, third, second]


def test_a_caller_is_forgotten_when_none_of_its_calls_waits() -> None:
    exit = Exit()

    def come_and_go() -> None:
        for n in range(500):
            first, second = exit.push(f"caller {n}"), exit.push(f"another {n}")
            exit.again(second)
            exit.queue.leave(first, exit.now)
            while exit.pick():
                pass

    assert kept_bytes(come_and_go) < 5000
    assert exit.queue.depth == 0


@pytest.mark.parametrize("higher", [HIGH, NORMAL], ids=["high", "normal"])
def test_low_calls_let_everybodys_others_go_first(higher: common_pb2.Priority) -> None:
    exit = Exit()
    waiting = [exit.push("a", LOW), exit.push("b", higher), exit.push("a", higher)]
    assert [exit.pick() for _ in waiting] == [waiting[1], waiting[2], waiting[0]]


def test_a_callers_high_calls_go_before_its_own_and_not_before_those_of_others() -> None:
    exit = Exit()
    first, normal = exit.push("b"), exit.push("a")
    high = [exit.push("a", HIGH) for _ in range(3)]
    last = exit.push("b")
    assert [exit.pick() for _ in range(6)] == [first, high[0], last, high[1], high[2], normal]


def test_high_calls_that_wait_for_a_worker_take_turns_with_others_normal_ones_at_it() -> None:
    exit = Exit()
    for _ in range(3):
        exit.push("a")
    for _ in range(3):
        exit.push("b", HIGH, pin=exit.worker)
    assert exit.order() == "bababa"


def test_a_normal_call_takes_turns_with_a_flood_of_its_callers_high_ones_when_it_has_aged() -> None:
    exit = Exit()
    normal = [exit.push("a") for _ in range(2)]
    left: list[tuple[float, Call | None]] = []
    while exit.now < 2 * AGE:
        exit.push("a", HIGH)
        exit.push("a", HIGH)
        exit.now += 0.01
        left.append((exit.now, exit.pick()))
    at = [now for now, call in left if call in normal]
    assert at == pytest.approx([AGE, AGE + 0.02], abs=0.011)


def test_a_low_call_leaves_a_flood_of_high_ones_when_it_has_aged() -> None:
    exit = Exit()
    low = exit.push("a", LOW)
    while exit.now < 10 * AGE:
        exit.push("b", HIGH)
        exit.push("b", HIGH)
        exit.now += 0.01
        if exit.pick() is low:
            break
    assert exit.now == pytest.approx(AGE, abs=0.05)


def test_low_calls_that_have_aged_take_turns_with_all_others() -> None:
    exit = Exit()
    for _ in range(4):
        exit.push("l", LOW)
    exit.now = 2 * AGE
    for caller in "aabb":
        exit.push(caller)
    assert exit.order() == "alblalbl"


def test_a_low_call_that_comes_back_unstarted_is_as_old_as_it_was() -> None:
    exit = Exit()
    low = exit.push("a", LOW)
    exit.now = 2 * AGE
    exit.push("z", LOW)
    for _ in range(10):
        exit.push("b", HIGH)
    for _ in range(3):
        assert low in (exit.pick(), exit.pick())
        exit.again(low)


def test_a_young_call_that_comes_back_makes_older_ones_of_its_priority_no_younger() -> None:
    exit = Exit()
    first, old = exit.push("a", LOW), exit.push("a", LOW)
    exit.now = 2 * AGE
    young = exit.push("b", LOW)
    assert [exit.pick(), exit.pick()] == [first, young]
    exit.again(young)
    for _ in range(10):
        exit.push("c", HIGH)
    assert {young, old} <= {exit.pick() for _ in range(4)}


def test_ageing_among_calls_of_one_priority_changes_nothing_in_whose_turn_it_is() -> None:
    exit = Exit()
    for _ in range(10):
        exit.push("a")
    exit.now = 5 * AGE
    exit.push("b")
    assert exit.order()[:2] == "ab"


def test_the_line_of_a_worker_and_the_common_one_take_turns_at_that_worker() -> None:
    exit = Exit()
    for _ in range(3):
        exit.push("a")
    for _ in range(3):
        exit.push("b", pin=exit.worker)
    assert exit.order() == "bababa"


def test_a_pinned_call_goes_when_the_common_line_has_no_use_for_its_worker() -> None:
    exit = Exit()
    exit.push("a")
    pinned = [exit.push("b", pin=exit.worker) for _ in range(2)]
    exit.queue.turn(pinned[0], exit.worker)
    assert exit.queue.next_for(exit.worker, 0.0) is None
    assert exit.queue.next_for(exit.worker, 0.0, alone=True) is pinned[1]


Push = tuple[str, str, common_pb2.Priority]
pushes = st.tuples(st.just("push"), st.sampled_from("abcd"), st.sampled_from([HIGH, NORMAL, NORMAL, LOW]))
others = st.tuples(st.sampled_from(["pick", "again", "cancel", "wait"]), st.just("a"), st.just(NORMAL))


@given(st.lists(st.one_of(pushes, others), max_size=120))
def test_whatever_happens_no_call_is_lost_and_a_callers_order_never_turns_round(steps: list[Push]) -> None:
    exit = Exit()
    waiting: set[Call] = set()
    out: list[Call] = []
    for what, caller, priority in steps:
        if what == "push":
            waiting.add(exit.push(caller, priority))
        elif what == "again" and out:
            exit.again(call := out.pop())
            waiting.add(call)
        elif what == "cancel" and waiting:
            exit.queue.leave(call := min(waiting, key=lambda each: each.arrival), exit.now)
            waiting.discard(call)
        elif what == "wait":
            exit.now += 0.3
        elif what == "pick":
            call_out = exit.pick()
            assert (call_out is None) == (not waiting)
            if call_out is not None:
                waiting.discard(call_out)
                older = [c.arrival for c in waiting if its(c) == its(call_out)]
                assert call_out.arrival < min(older, default=exit.arrivals + 1)
                out.append(call_out)
        assert exit.queue.depth == len(exit.queue.anybody) == len(waiting)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 5))
def test_between_two_picks_of_a_waiting_caller_every_other_one_goes_at_most_once(callers: list[str], every: int) -> None:
    exit = Exit()
    since_last: dict[str, Counter[str]] = {}
    for number, caller in enumerate(callers):
        exit.push(caller)
        if number % every == 0:
            account(exit, since_last)
    while exit.queue.depth:
        account(exit, since_last)


def account(exit: Exit, since: dict[str, Counter[str]]) -> None:
    """Pick one, and see that nobody who waits was passed by twice by the same other caller."""
    waiting = {str(call.request.caller) for call in exit.queue.anybody}
    call = exit.pick()
    assert call is not None
    for caller in waiting - {call.request.caller}:
        since.setdefault(caller, Counter())[str(call.request.caller)] += 1
        assert since[caller][str(call.request.caller)] <= 1
    for caller in [*since]:
        if caller == call.request.caller or caller not in waiting:
            del since[caller]


@given(st.lists(st.sampled_from([HIGH, NORMAL, LOW]), max_size=30), st.integers(1, 4), st.sampled_from("abz"))
def test_under_any_flood_every_call_leaves_within_a_bounded_number_of_picks(
    before: Iterable[common_pb2.Priority], flood: int, caller: str
) -> None:
    """`flood` new high calls of other callers for each pick: an aged band gets half of them, in which callers take turns."""
    exit = Exit()
    for priority in before:
        exit.push(caller, priority)
    ahead = len(exit.queue.anybody)
    low = exit.push(caller, LOW)
    exit.now = 2 * AGE
    for _ in range(2 * (ahead + 1)):
        for number in range(flood):
            exit.push(f"flood {number}", HIGH)
        exit.now += 0.001
        if exit.pick() is low:
            return
    raise AssertionError("the low call did not leave")
