"""worker.exclusive: whose a worker is, and until when."""

from __future__ import annotations

from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.leases import DOUBT_SECONDS, ExclusiveLeases


def call(id_: int = 1, session: str = "", epoch: int = 1, incarnation: str = "i1") -> HeldCall:
    held = HeldCall(id_, id_, "replica", incarnation, f"call-{id_}", "tool")
    held.session_id, held.session_uid, held.session_epoch = session, session and f"uid-{session}", epoch
    return held


def test_a_worker_belongs_to_the_session_that_calls_it_first_and_admits_nobody_else() -> None:
    leases = ExclusiveLeases()
    assert leases.admits(call(session="a"))
    assert leases.take(call(session="a"), 0.0, within=False)
    assert not leases.take(call(2, session="a"), 1.0, within=False), "that is no news"
    assert leases.admits(call(3, session="a"))
    assert not leases.admits(call(4, session="b"))
    assert not leases.admits(call(5))
    assert not leases.is_over("i1")


def test_a_session_that_ends_or_moves_leaves_its_worker_to_nobody() -> None:
    leases = ExclusiveLeases()
    leases.take(call(session="a"), 0.0, within=False)
    assert leases.leave("uid-b") == leases.leave("") == []
    assert leases.leave("uid-a") == ["i1"]
    assert leases.is_over("i1")
    assert not leases.admits(call(session="b"))


def test_a_call_without_a_session_uses_its_worker_up_unless_it_never_started() -> None:
    leases = ExclusiveLeases()
    leases.take(call(), 0.0, within=False)
    assert leases.is_over("i1")
    assert not leases.admits(call(2))
    assert leases.give_back(call())
    assert leases.admits(call(2))
    leases.take(call(session="a"), 0.0, within=False)
    assert not leases.give_back(call(session="a")), "the session is bound there, whether its first call has run or not"


def test_a_nested_call_at_another_worker_than_its_session_s_is_that_worker_s_only_one() -> None:
    leases = ExclusiveLeases()
    leases.take(call(session="a", incarnation="i2"), 0.0, within=True)
    assert leases.is_over("i2")
    assert not leases.admits(call(2, session="a", incarnation="i2"))


def test_a_session_that_is_silent_is_asked_after_now_and_then() -> None:
    leases = ExclusiveLeases()
    leases.take(call(session="a", epoch=3), 0.0, within=False)
    assert leases.doubtful(DOUBT_SECONDS - 0.1) == []
    (owner,) = leases.doubtful(DOUBT_SECONDS)
    assert (owner.session_id, owner.uid, owner.epoch, owner.replica) == ("a", "uid-a", 3, "replica")
    assert leases.doubtful(DOUBT_SECONDS + 0.1) == []
    assert len(leases.doubtful(2 * DOUBT_SECONDS)) == 1
