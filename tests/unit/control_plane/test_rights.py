"""Who may do what: how long an answer holds, what happens while nobody answers, and what is said and written down."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from snakepit.errors import PermissionDenied, ServerUnavailable
from snakepit.v1 import link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.authorization import rights as rights_module
from snakepit_control_plane.authorization.audit import Audit
from snakepit_control_plane.authorization.reviews import ASK_SECONDS
from snakepit_control_plane.authorization.rights import MOST_AGAIN, PAUSE_SECONDS, Rights, Unanswerable, Unreachable
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import (
    AWAY_SECONDS,
    CALL,
    CHANGE_SESSION,
    FRESH_SECONDS,
    KEPT_SECONDS,
    LOOK_AGAIN_SECONDS,
    MAINTAIN,
    REFUSED_SECONDS,
    TOLD_SECONDS,
    Answer,
    Freshness,
    Right,
    attributes,
    freshness,
)
from snakepit_control_plane.servers.door import Door
from snakepit_control_plane.servers.held import Held, PoolRights
from support.virtual_time import VirtualLoop

WEB = Caller("system:serviceaccount:shop:web", "system:serviceaccount:shop:web", ("system:serviceaccounts",))
POOL = "shop/digits"


class ApiServer:
    """Somebody to ask. `says`: whether yes; `away`: it answers nothing; `waits`: an answer waits for it."""

    def __init__(self) -> None:
        self.says = True
        self.away = False
        self.waits = asyncio.Event()
        self.waits.set()
        self.asked: list[tuple[str, Right, str]] = []
        self.slow = 0.0
        self.denies: set[Right] = set()
        self.fails: Exception | None = None
        self.fails_on: dict[Right, Exception] = {}

    async def ask(self, caller: Caller, right: Right, pool: str) -> Answer:
        self.asked.append((caller.subject, right, pool))
        says = self.says and right not in self.denies
        await asyncio.sleep(self.slow)
        await self.waits.wait()
        if self.fails is not None:
            raise self.fails
        if right in self.fails_on:
            raise self.fails_on[right]
        if self.away:
            raise ServerUnavailable("no route to the API server")
        return Answer(says, "" if says else "no rule allows it")

    def count(self, right: Right) -> int:
        return sum(asked[1] == right for asked in self.asked)


class World:
    def __init__(self, level: str = "off") -> None:
        self.server = ApiServer()
        self.rights = Rights(self.server.ask, Audit(level), asyncio.get_running_loop().time)

    async def allowed(self, caller: Caller = WEB, right: Right = CALL) -> bool:
        try:
            await self.rights.check(caller, right, POOL)
        except PermissionDenied:
            return False
        return True


def played(play: Callable[[World], Any], **options: Any) -> None:
    async def run() -> None:
        world = World(**options)
        await play(world)
        await world.rights.stop()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def test_a_right_is_asked_for_once_and_a_denial_names_what_is_missing_and_how_to_look() -> None:
    async def play(world: World) -> None:
        assert world.rights.known(WEB, CALL, POOL) is None
        assert [await world.allowed() for _ in range(3)] == [True] * 3
        assert world.server.asked == [(WEB.subject, CALL, POOL)]
        world.server.says = False
        with pytest.raises(PermissionDenied) as refused:
            await world.rights.check(WEB, MAINTAIN, POOL)
        assert "may not update snakepools/workers of pool shop/digits (no rule allows it)" in str(refused.value)
        asked = "kubectl auth can-i update snakepools.snakepit.dev/digits --subresource=workers -n shop --as=system:serviceaccount:shop:web"
        assert asked in str(refused.value)
        assert refused.value.details == {"verb": "update", "resource": "snakepools/workers"}

    played(play)


BIT = 0.001


@pytest.mark.parametrize(
    ("allowed", "away", "age", "expected"),
    [
        (True, False, FRESH_SECONDS, Freshness.FRESH),
        (True, False, FRESH_SECONDS + BIT, Freshness.AGING),
        (True, False, KEPT_SECONDS, Freshness.AGING),
        (True, False, KEPT_SECONDS + BIT, Freshness.STALE),
        (False, False, REFUSED_SECONDS, Freshness.FRESH),
        (False, False, REFUSED_SECONDS + BIT, Freshness.STALE),
        (True, True, FRESH_SECONDS, Freshness.FRESH),
        (True, True, KEPT_SECONDS + BIT, Freshness.AGING),
        (True, True, AWAY_SECONDS, Freshness.AGING),
        (True, True, AWAY_SECONDS + BIT, Freshness.STALE),
        (False, True, REFUSED_SECONDS + BIT, Freshness.AGING),
        (False, True, AWAY_SECONDS + BIT, Freshness.STALE),
    ],
)
def test_an_answer_holds_for_so_long(allowed: bool, away: bool, age: float, expected: Freshness) -> None:
    assert freshness(Answer(allowed), age, away=away) is expected


def test_a_links_last_look_at_an_answer_ends_within_the_minute() -> None:
    assert KEPT_SECONDS + LOOK_AGAIN_SECONDS <= TOLD_SECONDS == 60.0


@pytest.mark.parametrize("quiet", [0.0, 9.9, 29.9, 30.1, 54.9, 55.1, 57.5, 59.8])
@pytest.mark.parametrize("slow", [0.0, ASK_SECONDS])
def test_a_minute_after_a_right_was_given_or_taken_a_links_calls_go_by_it(quiet: float, slow: float) -> None:
    """It changes just after it was asked for. Then nobody calls for a while, and then somebody often."""

    async def play(world: World) -> None:
        loop, gone_on, refused = asyncio.get_running_loop(), list[int](), list[int]()
        world.server.slow = slow
        rights = PoolRights(
            Door(Gate(), world.rights),
            held := Held(lambda frame: refused.append(frame.result.id)),
            lambda _, frame, __: gone_on.append(frame.call.id),
        )
        ids, asked = itertools.count(), dict[int, float]()

        def call() -> None:
            asked[id_ := next(ids)] = loop.time()
            if rights.allow(WEB, POOL, link_pb2.Frame(call=link_pb2.Call(id=id_)), loop.time()) is not None:
                gone_on.append(id_)

        for number in range(4):
            world.rights.forget()
            rights.forget()
            world.server.says = bool(number % 2)
            call()
            changed = loop.time() + BIT
            await asyncio.sleep(BIT)
            world.server.says = not world.server.says
            asked.clear()
            await asyncio.sleep(quiet)
            while loop.time() < changed + 130:
                call()
                await asyncio.sleep(0.5)
            await asyncio.sleep(slow)
            late = {id_ for id_, at in asked.items() if at >= changed + TOLD_SECONDS}
            assert late <= {*(gone_on if world.server.says else refused)}
        held.closed()

    played(play)


def test_before_a_right_is_looked_at_again_a_call_never_waits() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.says = False
        await asyncio.sleep(FRESH_SECONDS + 1)
        known = world.rights.known(WEB, CALL, POOL)
        assert known is not None
        assert known.allowed, "it holds while it is asked for again"
        await asyncio.sleep(BIT)
        assert not await world.allowed()

    played(play)


def test_while_nobody_answers_the_last_answer_holds_for_ten_minutes_and_then_it_is_no() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.away = True
        await asyncio.sleep(KEPT_SECONDS + 1)
        assert await world.allowed()
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, MAINTAIN, POOL)
        asked = len(world.server.asked)
        assert all([await world.allowed() for _ in range(100)])
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, MAINTAIN, POOL)
        assert len(world.server.asked) == asked, "and it is not asked all the time"
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert len(world.server.asked) == asked + 1
        await asyncio.sleep(AWAY_SECONDS)
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, CALL, POOL)
        world.server.away = False
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert await world.allowed()

    played(play)


def test_a_right_that_was_taken_while_nobody_answered_is_gone_soon_after_that_has_ended_though_nobody_calls_meanwhile() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.away = True
        await asyncio.sleep(FRESH_SECONDS + 1)
        assert await world.allowed(), "this asks, and nobody answers"
        await asyncio.sleep(KEPT_SECONDS)
        assert await world.allowed()
        world.server.away = world.server.says = False
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert not await world.allowed()
        assert not world.rights.is_away

    played(play)


def test_whatever_goes_wrong_with_a_question_is_an_answer_that_did_not_come() -> None:
    async def play(world: World) -> None:
        world.server.fails = RuntimeError("a defect")
        with pytest.raises(RuntimeError):
            await world.allowed()
        with pytest.raises(ServerUnavailable, match="a defect"):
            await world.allowed()
        world.server.fails = None
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert await world.allowed()

    played(play)


@pytest.mark.parametrize("error", [ServerUnavailable("no answer in time"), Unanswerable("403"), RuntimeError("a defect")])
def test_a_question_that_always_fails_keeps_nobody_from_answers_and_is_asked_again_after_each_pause(error: Exception) -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.fails_on[MAINTAIN] = error
        for number in range(5):
            with pytest.raises(type(error)):
                await world.allowed(right=MAINTAIN)
            asked = world.server.count(MAINTAIN)
            with pytest.raises(ServerUnavailable, match=str(error)):
                await world.allowed(right=MAINTAIN)
            assert (asked, world.server.count(MAINTAIN)) == (number + 1, number + 1)
            assert await world.allowed(Caller("somebody", f"new-{number}"))
            assert not world.rights.is_away
            await asyncio.sleep(PAUSE_SECONDS + BIT)

    played(play)


def test_the_last_answer_to_a_question_that_fails_holds_for_ten_minutes_and_other_answers_no_longer_than_ever() -> None:
    async def play(world: World) -> None:
        assert await world.allowed(right=MAINTAIN)
        assert await world.allowed()
        world.server.fails_on[MAINTAIN] = ServerUnavailable("no answer in time")
        world.server.denies = {CALL}
        await asyncio.sleep(KEPT_SECONDS + 1)
        assert not await world.allowed()
        assert await world.allowed(right=MAINTAIN)
        await asyncio.sleep(AWAY_SECONDS - KEPT_SECONDS - 2)
        assert await world.allowed(right=MAINTAIN)
        await asyncio.sleep(1 + PAUSE_SECONDS)
        with pytest.raises(ServerUnavailable):
            await world.allowed(right=MAINTAIN)

    played(play)


def test_an_answer_to_a_question_that_failed_counts_soon_after_though_nobody_asks_meanwhile() -> None:
    async def play(world: World) -> None:
        assert await world.allowed(right=MAINTAIN)
        assert await world.allowed()
        world.server.fails_on[MAINTAIN] = Unanswerable("403")
        await asyncio.sleep(KEPT_SECONDS + 1)
        assert await world.allowed(right=MAINTAIN)
        world.server.fails_on, world.server.denies = {}, {MAINTAIN}
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert not await world.allowed(right=MAINTAIN)

    played(play)


def test_one_question_that_finds_nobody_there_is_enough() -> None:
    async def play(world: World) -> None:
        world.server.fails = Unreachable("connection refused")
        with pytest.raises(Unreachable):
            await world.allowed()
        assert world.rights.is_away

    played(play)


def test_where_one_of_many_connections_is_refused_others_are_kept_out_for_a_question_at_most() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.fails_on[MAINTAIN] = Unreachable("one of three API servers has gone")
        with pytest.raises(Unreachable):
            await world.allowed(right=MAINTAIN)
        await asyncio.sleep(BIT)
        assert not world.rights.is_away
        assert await world.allowed(right=CHANGE_SESSION)

    played(play)


def test_two_questions_that_fail_together_beside_others_are_asked_once_in_a_pause_however_often_their_callers_come() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        failing = (MAINTAIN, CHANGE_SESSION)
        world.server.fails_on = dict.fromkeys(failing, ServerUnavailable("500"))
        for number in range(20):
            with pytest.raises(ServerUnavailable):
                await asyncio.gather(*[world.allowed(right=right) for right in failing])
            await asyncio.sleep(BIT)
            assert await world.allowed(Caller("somebody", f"new-{number}"))
        assert [world.server.count(right) for right in failing] == [1, 1]

    played(play)


def test_nobody_answers_when_no_other_question_is_answered_either() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.fails_on = dict.fromkeys((CALL, MAINTAIN), ServerUnavailable("no answer in time"))
        with pytest.raises(ServerUnavailable):
            await world.allowed(right=MAINTAIN)
        await asyncio.sleep(BIT)
        assert world.rights.is_away, "what was answered last was asked once more, and isn't answered now"
        world.server.fails_on = {}
        with pytest.raises(ServerUnavailable):
            await world.allowed(right=CHANGE_SESSION)
        await asyncio.sleep(PAUSE_SECONDS)
        assert await world.allowed(right=CHANGE_SESSION)

    played(play)


@pytest.mark.parametrize("known", [True, False], ids=["one was answered last", "nothing was ever answered"])
def test_two_questions_that_always_fail_keep_others_out_for_a_pause_at_most(known: bool) -> None:
    async def play(world: World) -> None:
        if known:
            assert await world.allowed(right=MAINTAIN)
            await asyncio.sleep(KEPT_SECONDS + 1)
        world.server.fails_on = dict.fromkeys((CALL, MAINTAIN), ServerUnavailable("500"))
        for right in (MAINTAIN, CALL):
            with contextlib.suppress(ServerUnavailable):
                await world.allowed(right=right)
        assert world.rights.is_away
        with pytest.raises(ServerUnavailable):
            await world.allowed(right=CHANGE_SESSION)
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert await world.allowed(right=CHANGE_SESSION)

    played(play)


def test_a_right_that_is_taken_is_gone_soon_though_two_others_can_not_be_asked_for() -> None:
    async def play(world: World) -> None:
        assert [await world.allowed(right=right) for right in (CHANGE_SESSION, MAINTAIN)] == [True, True]
        await asyncio.sleep(KEPT_SECONDS + 1)
        world.server.denies = {CHANGE_SESSION}
        world.server.fails_on = dict.fromkeys((CALL, MAINTAIN), ServerUnavailable("500"))
        for right in (MAINTAIN, CALL):
            with contextlib.suppress(ServerUnavailable):
                await world.allowed(right=right)
        assert await world.allowed(right=CHANGE_SESSION), "nobody answers, so the last answer holds"
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert not await world.allowed(right=CHANGE_SESSION)

    played(play)


def test_when_somebody_answers_again_those_who_were_refused_first_are_asked_about_at_once() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.away = True
        for right in (MAINTAIN, CHANGE_SESSION):
            with pytest.raises(ServerUnavailable):
                await world.allowed(right=right)
        assert world.rights.is_away
        world.server.away = False
        await asyncio.sleep(PAUSE_SECONDS + BIT)
        assert [await world.allowed(right=right) for right in (MAINTAIN, CHANGE_SESSION)] == [True, True]

    played(play)


def test_of_many_questions_that_fail_slowly_a_few_are_asked_again_at_a_time_and_each_in_its_turn() -> None:
    async def play(world: World) -> None:
        callers = [Caller(str(number), str(number)) for number in range(3 * MOST_AGAIN)]
        assert [await world.allowed(each) for each in callers] == [True] * len(callers)
        await asyncio.sleep(KEPT_SECONDS + 1)
        world.server.fails, world.server.slow = Unanswerable("403"), ASK_SECONDS
        await asyncio.gather(*[world.allowed(each) for each in callers])
        world.server.asked.clear()
        for _ in range(3):
            before = len(world.server.asked)
            await asyncio.sleep(PAUSE_SECONDS)
            assert len(world.server.asked) - before <= MOST_AGAIN
        assert {subject for subject, _, _ in world.server.asked} == {each.subject for each in callers}
        world.server.fails = None
        assert await world.allowed(Caller("somebody", "new"))

    played(play)


@pytest.mark.parametrize("error", [Unreachable("refused"), Unanswerable("403")])
def test_an_error_that_many_are_told_keeps_none_of_their_frames(error: ServerUnavailable) -> None:
    async def play(world: World) -> None:
        world.server.fails = error
        for _ in range(20):
            with pytest.raises(ServerUnavailable) as refused:
                await world.allowed()
        assert len(refused.traceback) < 10

    played(play)


def test_however_many_questions_fail_by_themselves_somebody_answers() -> None:
    async def play(world: World) -> None:
        world.server.fails = Unanswerable("403")
        for number in range(20):
            with pytest.raises(Unanswerable):
                await world.allowed(Caller(str(number), str(number)))
        assert not world.rights.is_away
        world.server.fails = None
        assert await world.allowed()

    played(play)


def test_however_many_wait_for_the_same_answer_there_is_one_question_and_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_module, "MOST_ASKED", 3)

    async def play(world: World) -> None:
        world.server.waits.clear()
        same = [asyncio.create_task(world.allowed()) for _ in range(10)]
        others = [asyncio.create_task(world.allowed(Caller(str(n), str(n)))) for n in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ServerUnavailable, match="try again"):
            await world.allowed(Caller("one-more", "one-more"))
        world.server.waits.set()
        assert all(await asyncio.gather(*same, *others))
        assert len(world.server.asked) == 3

    played(play)


def test_a_gateway_that_brings_hundreds_of_callers_at_once_waits_and_where_nobody_answers_it_is_soon_told() -> None:
    async def play(world: World) -> None:
        callers = [Caller(str(number), str(number)) for number in range(500)]
        world.server.slow = 0.1
        began = asyncio.get_running_loop().time()
        assert all(await asyncio.gather(*map(world.allowed, callers)))
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.1 * 500 / rights_module.AT_A_TIME, abs=0.2)
        world.rights.forget()
        world.server.away, world.server.slow = True, ASK_SECONDS
        began = asyncio.get_running_loop().time()
        told = await asyncio.gather(*map(world.allowed, callers), return_exceptions=True)
        assert {type(each) for each in told} == {ServerUnavailable}
        assert asyncio.get_running_loop().time() - began <= ASK_SECONDS + BIT

    played(play)


def test_answers_are_forgotten_beyond_a_number_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_module, "MOST_KEPT", 5)

    async def play(world: World) -> None:
        for number in range(20):
            await world.allowed(Caller(str(number), str(number)))
        assert world.rights.kept == 5

    played(play)


def test_somebody_with_other_groups_is_somebody_else() -> None:
    async def play(world: World) -> None:
        await world.allowed()
        world.server.says = False
        assert not await world.allowed(Caller(WEB.name, WEB.subject))

    played(play)


@pytest.mark.parametrize(("level", "written"), [("off", []), ("denied", [False]), ("changes", [False]), ("all", [True, False])])
def test_each_decision_is_a_line_of_the_audit_log_as_its_level_says(
    level: str, written: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    async def play(world: World) -> None:
        await world.allowed()
        world.server.says = False
        await world.allowed(right=MAINTAIN)

    with caplog.at_level(logging.INFO, "snakepit.audit"):
        played(play, level=level)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["allowed"] for line in lines] == written
    if written:
        assert lines[-1] == {
            "subject": WEB.subject,
            "groups": list(WEB.groups),
            "right": "update snakepools/workers",
            "pool": POOL,
            "allowed": False,
            "reason": "no rule allows it",
        }


def test_what_goes_on_without_a_right_is_no_denial(caplog: pytest.LogCaptureFixture) -> None:
    async def play(world: World) -> None:
        world.server.denies = {MAINTAIN}
        assert await world.rights.may(WEB, CHANGE_SESSION, POOL)
        assert not await world.rights.may(WEB, MAINTAIN, POOL)

    with caplog.at_level(logging.INFO, "snakepit.audit"):
        played(play, level="all")
    assert [json.loads(record.getMessage())["right"] for record in caplog.records] == [str(CHANGE_SESSION)]


def test_a_right_is_asked_for_in_the_words_of_a_subject_access_review() -> None:
    wanted = {
        "group": "snakepit.dev",
        "resource": "snakepools",
        "subresource": "call",
        "verb": "create",
        "namespace": "shop",
        "name": "digits",
    }
    assert attributes(CALL, POOL) == wanted
