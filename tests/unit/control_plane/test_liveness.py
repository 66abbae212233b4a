"""Live, Suspect, Lost, and when silence says more about us."""

import pytest

from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import pool_pb2
from snakepit_control_plane.liveness import Sign, judge, judge_pool

BEAT = HeartbeatSpec()
LIVE, SUSPECT, LOST = pool_pb2.LIVENESS_LIVE, pool_pb2.LIVENESS_SUSPECT, pool_pb2.LIVENESS_LOST


@pytest.mark.parametrize(
    ("silence", "linked", "verdict"),
    [
        (0, True, LIVE),
        (5.9, True, LIVE),
        (6, True, SUSPECT),
        (0, False, SUSPECT),
        (9.9, False, SUSPECT),
        (10, True, LOST),
        (10, False, LOST),
    ],
)
def test_silence_and_a_broken_link_decide(silence: float, linked: bool, verdict: int) -> None:
    assert judge(Sign(silence, linked), BEAT) == verdict


def test_one_silent_capsule_of_three_is_lost() -> None:
    verdicts, hold = judge_pool([Sign(11, False), Sign(0, True), Sign(0, True)], BEAT, 0)
    assert (verdicts, hold) == ([LOST, LIVE, LIVE], False)


def test_more_than_half_of_three_or_more_silent_at_once_and_nobody_is_lost_for_it() -> None:
    verdicts, hold = judge_pool([Sign(11, False), Sign(11, False), Sign(0, True)], BEAT, 50)
    assert (verdicts, hold) == ([SUSPECT, SUSPECT, LIVE], True)


def test_the_guard_gives_up_after_ten_time_outs() -> None:
    verdicts, hold = judge_pool([Sign(111, False)] * 3, BEAT, 100)
    assert (verdicts, hold) == ([LOST] * 3, False)


def test_two_capsules_are_too_few_for_the_guard() -> None:
    assert judge_pool([Sign(11, False)] * 2, BEAT, 0) == ([LOST, LOST], False)
