"""80 % and 100 % are announced once for each crossing, and a count that goes to and fro is one crossing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snakepit_control_plane.model.quotas import MARKS, SLACK, Mark


@pytest.mark.parametrize(
    ("counts", "marks"),
    [
        ([0, 79, 80, 81, 99, 100, 100], [0, 0, 80, 80, 80, 100, 100]),
        ([80, 79, 76, 80, 75, 80], [80, 80, 80, 80, 0, 80]),
        ([100, 99, 96, 100, 95, 76, 75], [100, 100, 100, 100, 80, 80, 0]),
        ([100, 0], [100, 0]),
        ([0, 200], [0, 100]),
    ],
)
def test_marks_rise_at_once_and_fall_with_slack(counts: list[int], marks: list[int]) -> None:
    mark, standing = Mark(), []
    for count in counts:
        before = mark.standing
        assert mark.update(count, 100) == (mark.standing != before)
        standing.append(mark.standing)
    assert standing == marks


def test_a_quota_of_nothing_is_full() -> None:
    mark = Mark()
    assert mark.update(0, 0)
    assert mark.standing == 100


@given(st.lists(st.integers(0, 40)), st.integers(1, 30))
def test_what_stands_is_what_was_reached_and_not_left_by_the_slack(counts: list[int], most: int) -> None:
    mark = Mark()
    for count in counts:
        mark.update(count, most)
        share = 100 * count / most
        for each in MARKS:
            assert mark.standing >= each or share < each
            assert mark.standing < each or share > each - SLACK
