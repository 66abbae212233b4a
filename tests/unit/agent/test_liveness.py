"""What silence says about a worker."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from snakepit.spec.fields import HeartbeatSpec
from snakepit_agent.model.liveness import Liveness, Reaction

ASK, SUSPECT, LOST = Reaction.ASK, Reaction.SUSPECT, Reaction.LOST


def watching(**options: float) -> Liveness:
    liveness = Liveness(HeartbeatSpec(**options))  # type: ignore[arg-type]
    liveness.ready("w", 0.0)
    return liveness


def reactions(liveness: Liveness, start: int, end: int, busy: tuple[str, ...] = ()) -> dict[int, Reaction]:
    """Of beats every two seconds, at which nothing was heard."""
    return {now: reaction for now in range(start, end + 1, 2) for _, reaction in liveness.beat(now, (), busy)}


def test_a_worker_that_never_answers_is_asked_once_then_suspect_then_lost() -> None:
    assert reactions(watching(), 2, 12) == {2: ASK, 8: SUSPECT, 12: LOST}


def test_whoever_answers_is_asked_again_and_nothing_else() -> None:
    liveness = watching()
    for now in range(2, 200, 4):
        assert liveness.beat(now, (), ()) == [("w", ASK)]
        assert liveness.beat(now + 2, ("w",), ()) == []


def test_an_answer_ends_a_suspicion_at_once() -> None:
    liveness = watching()
    reactions(liveness, 2, 8)
    liveness.heard("w")
    assert reactions(liveness, 10, 16) == {10: ASK, 16: SUSPECT}


def test_a_busy_worker_is_never_asked_and_never_suspect_however_long_it_is_silent() -> None:
    liveness = watching()
    assert reactions(liveness, 2, 6) == {2: ASK}
    assert reactions(liveness, 8, 1000, busy=("w",)) == {}


def test_the_first_silence_is_allowed_for_the_initial_delay() -> None:
    assert reactions(watching(initial_delay_seconds=5), 2, 6) == {6: ASK}


def test_the_spec_says_how_many_beats_may_be_missed_and_how_long_silence_may_last() -> None:
    assert reactions(watching(miss_threshold=1, timeout_seconds=4), 2, 6) == {2: ASK, 4: SUSPECT, 6: LOST}


def test_a_worker_that_reads_no_calls_is_suspect_at_once_and_asked() -> None:
    liveness = watching()
    assert liveness.unread("w", 1.0) == [SUSPECT, ASK]
    assert liveness.unread("w", 1.5) == []
    assert reactions(liveness, 2, 11) == {}
    assert liveness.beat(11.0, (), ()) == [("w", LOST)]


def test_after_a_stall_of_our_own_everybody_is_asked_again() -> None:
    liveness = watching()
    assert reactions(liveness, 2, 8) == {2: ASK, 8: SUSPECT}
    assert reactions(liveness, 100, 104) == {100: ASK}
    assert reactions(liveness, 106, 110) == {110: LOST}


def test_who_has_gone_is_not_judged() -> None:
    liveness = watching()
    liveness.gone("w")
    assert reactions(liveness, 2, 20) == {}
    assert liveness.unread("w", 21.0) == []


@given(st.lists(st.sampled_from(["silent", "heard", "busy"]), max_size=60))
def test_only_whoever_was_asked_and_silent_for_the_time_out_is_lost(story: list[str]) -> None:
    liveness, asked = watching(), None
    for now, state in zip(range(2, 1000, 2), story, strict=False):
        found = liveness.beat(now, ("w",) if state == "heard" else (), ("w",) if state == "busy" else ())
        if state == "heard":
            asked = None
        if ("w", ASK) in found:
            asked = now
        if ("w", LOST) in found:
            assert state == "silent"
            assert asked is not None
            assert now - asked >= 10
