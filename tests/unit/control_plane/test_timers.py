"""The wheel: nothing early, nothing twice, nothing left behind."""

import math

from hypothesis import given
from hypothesis import strategies as st

from snakepit_control_plane.flow.deadlines import TICK_SECONDS, Wheel

operations = st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.floats(0, 5))), max_size=60)


@given(operations, st.lists(st.floats(0, 6), max_size=10))
def test_what_is_due_is_told_once_never_early_and_at_most_a_tick_late(changes: list[tuple[int, float | None]], looks: list[float]) -> None:
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
        due = wheel.due(now)
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
    assert not wheel._buckets


def test_items_that_were_taken_out_leave_nothing_behind() -> None:
    wheel: Wheel[int] = Wheel()
    for item in range(1000):
        wheel.set(item, item / 100)
        wheel.discard(item)
    assert wheel.next_due() is None
    assert not wheel._buckets
