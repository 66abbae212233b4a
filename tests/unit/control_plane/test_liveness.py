"""Live, Suspect, Lost, and when silence says more about us."""

import pytest

from snakepit._wire.silence import SUSPECT_SECONDS
from snakepit.spec.fields import HeartbeatSpec
from snakepit.v1 import pool_pb2
from snakepit_control_plane.fleet.liveness import LATE_LOOKS, STALLS_REMEMBERED, Sign, Stalls, judge, judge_pool, missed

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


@pytest.mark.parametrize(("silence", "count"), [(-5, 0), (0, 0), (2.1, 0), (2.9, 0), (3, 1), (4.9, 1), (5, 2), (11, 5)])
def test_a_heartbeat_is_missed_when_it_is_late_for_half_an_interval(silence: float, count: int) -> None:
    assert missed(silence, BEAT) == count


def test_one_silent_capsule_of_three_is_lost() -> None:
    verdicts, hold = judge_pool([Sign(11, False), Sign(0, True), Sign(0, True)], BEAT, 0)
    assert (verdicts, hold) == ([LOST, LIVE, LIVE], False)


def test_more_than_half_of_three_or_more_silent_at_once_and_nobody_is_lost_for_it() -> None:
    verdicts, hold = judge_pool([Sign(11, False), Sign(11, False), Sign(0, True)], BEAT, 50)
    assert (verdicts, hold) == ([SUSPECT, SUSPECT, LIVE], True)


def test_the_guard_gives_up_after_ten_time_outs() -> None:
    verdicts, hold = judge_pool([Sign(111, False)] * 3, BEAT, 100)
    assert (verdicts, hold) == ([LOST] * 3, False)


def test_those_that_come_back_last_after_most_were_silent_have_one_time_out_more() -> None:
    signs = [Sign(51, False), Sign(0, True), Sign(0, True)]
    assert judge_pool(signs, BEAT, 50, 9) == ([SUSPECT, LIVE, LIVE], False)
    assert judge_pool(signs, BEAT, 50, 10) == ([LOST, LIVE, LIVE], False)
    assert judge_pool(signs, BEAT, 100, 1) == ([LOST, LIVE, LIVE], False), "the guard had given up"


def test_two_capsules_are_too_few_for_the_guard() -> None:
    assert judge_pool([Sign(11, False)] * 2, BEAT, 0) == ([LOST, LOST], False)


def test_half_of_the_capsules_silent_is_not_most_of_them() -> None:
    verdicts, hold = judge_pool([Sign(11, False), Sign(11, False), Sign(0, True), Sign(0, True)], BEAT, 0)
    assert (verdicts, hold) == ([LOST, LOST, LIVE, LIVE], False)


def test_the_seconds_in_which_the_replica_did_not_listen_are_no_silence_of_the_agents() -> None:
    stalls = Stalls()
    assert stalls.look(100, 0.01)
    assert not stalls.look(112.25, 12)
    assert stalls.since(99) == 12
    assert stalls.since(105.25) == pytest.approx(7), "of an agent that was heard in the middle, as far as the loop knows, only the rest"
    assert stalls.since(112.25) == 0, "what was heard after it has nothing to do with it"
    assert stalls.look(112.5, 0.0)
    assert not stalls.look(115, 2.25)
    assert stalls.since(99) == 14.25


def test_after_a_stall_nobody_is_judged_before_a_look_that_came_in_time() -> None:
    stalls = Stalls()
    assert [stalls.look(now, late) for now, late in [(1, 0.0), (9, 7.75), (10, 0.75), (10.25, 0.0), (10.5, 0.24)]] == [
        True,
        False,
        False,
        True,
        True,
    ]


def test_a_replica_that_is_always_late_judges_all_the_same_now_and_then_and_remembers_so_much_only() -> None:
    stalls = Stalls()
    judged = [stalls.look(float(now), 0.75) for now in range(5 * STALLS_REMEMBERED)]
    assert judged.count(True) == 5 * STALLS_REMEMBERED // LATE_LOOKS
    assert stalls.since(0) == STALLS_REMEMBERED * 0.75


def test_one_that_leaves_a_question_unanswered_gets_no_new_calls_long_before_its_beats_are_missed() -> None:
    signs = [Sign(1.5, True, SUSPECT_SECONDS), Sign(1.5, True, SUSPECT_SECONDS - 0.1), Sign(0, True)]
    assert judge_pool(signs, BEAT, 0) == ([SUSPECT, LIVE, LIVE], False)


def test_unanswered_questions_alone_never_hold_the_guard() -> None:
    assert judge_pool([Sign(1.5, True, SUSPECT_SECONDS)] * 3, BEAT, 0) == ([SUSPECT] * 3, False)
