"""The wheel: nothing early, nothing twice, nothing left behind."""

import asyncio
import math

from hypothesis import given
from hypothesis import strategies as st

from snakepit_control_plane.flow.deadlines import MOST_AT_ONCE, TICK_SECONDS, Deadlines, Wheel
from snakepit_control_plane.model.call import Call
from support.calls import make_call
from support.memory import kept_bytes

operations = st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.floats(0, 5))), max_size=60)


@given(operations, st.lists(st.floats(0, 6), max_size=10), st.integers(1, 12))
def test_what_is_due_is_told_once_never_early_and_at_most_a_tick_late(
    changes: list[tuple[int, float | None]], looks: list[float], most: int
) -> None:
    wheel: Wheel[int] = Wheel()
    wanted: dict[int, float] = {}
    for item, at in changes:
        if at is None:
            wheel.discard(item)
            wanted.pop(item, None)
        else:
            wheel.set(item, at)
            wanted[item] = at
    for now in sorted(looks):
        due = list[int]()
        while some := wheel.due(now, most):
            assert len(some) <= most
            due += some
        assert len(set(due)) == len(due)
        for item in due:
            assert wanted.pop(item) <= now + 1e-9
        assert all(at > now - TICK_SECONDS - 1e-9 for at in wanted.values())
    assert len(wheel) == len(wanted)
    assert (wheel.next_due() is None) == (not wanted)


def test_infinity_is_never() -> None:
    wheel: Wheel[str] = Wheel()
    wheel.set("a", math.inf)
    assert wheel.next_due() is None
    assert not wheel


def test_items_that_were_taken_out_leave_nothing_behind() -> None:
    wheel: Wheel[int] = Wheel()

    def set_and_discard() -> None:
        for item in range(1000):
            wheel.set(item, item / 100)
            wheel.discard(item)
            assert wheel.next_due() is None

    assert kept_bytes(set_and_discard) < 5000
    assert not wheel


async def test_a_call_that_is_given_another_time_while_those_of_its_tick_are_told_is_not_due() -> None:
    loop = asyncio.get_running_loop()
    first, second = make_call(), make_call()
    told: list[Call] = []
    done = asyncio.Event()

    def due(call: Call, now: float) -> None:
        told.append(call)
        if call is first:  # Its end gives the other one a worker.
            deadlines.set(second, now + 60)
        done.set()

    deadlines = Deadlines(loop, due)
    at = loop.time()
    deadlines.set(first, at)
    deadlines.set(second, at)
    async with asyncio.timeout(10):
        await done.wait()
    deadlines.stop()
    assert told == [first]


async def test_calls_whose_time_is_up_together_are_told_in_turns_with_others_between_them() -> None:
    """Or whoever asks for that keeps everybody waiting for all of them."""
    loop = asyncio.get_running_loop()
    calls = [make_call() for _ in range(20 * MOST_AT_ONCE)]
    told: list[Call] = []
    deadlines = Deadlines(loop, lambda call, now: told.append(call))
    at, since, most, turns = loop.time(), 0, 0, 0
    for call in calls:
        deadlines.set(call, at)
    async with asyncio.timeout(10):
        while len(told) < len(calls):
            await asyncio.sleep(0)
            most, since, turns = max(most, len(told) - since), len(told), turns + 1
    deadlines.stop()
    assert told == calls
    assert most == MOST_AT_ONCE
    assert turns >= 20
