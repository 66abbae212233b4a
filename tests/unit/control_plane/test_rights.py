"""Who may do what: how long an answer holds, what happens while nobody answers, and what is said and written down."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from snakepit.errors import PermissionDenied, ServerUnavailable
from snakepit_control_plane.authorization import rights as rights_module
from snakepit_control_plane.authorization.audit import Audit
from snakepit_control_plane.authorization.rights import PAUSE_SECONDS, Rights
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import (
    AWAY_SECONDS,
    CALL,
    FRESH_SECONDS,
    KEPT_SECONDS,
    MAINTAIN,
    REFUSED_SECONDS,
    Answer,
    Right,
    attributes,
)

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

    async def ask(self, caller: Caller, right: Right, pool: str) -> Answer:
        self.asked.append((caller.subject, right, pool))
        await self.waits.wait()
        if self.away:
            raise ServerUnavailable("no route to the API server")
        return Answer(self.says, "" if self.says else "no rule allows it")


class World:
    def __init__(self, level: str = "off") -> None:
        self.now = 1000.0
        self.server = ApiServer()
        self.rights = Rights(self.server.ask, Audit(level), lambda: self.now)

    async def allowed(self, caller: Caller = WEB, right: Right = CALL) -> bool:
        try:
            await self.rights.check(caller, right, POOL)
        except PermissionDenied:
            return False
        return True

    async def answered(self) -> None:
        """Whatever was being asked in the background."""
        for _ in range(10):
            await asyncio.sleep(0)


def played(play: Callable[[World], Any], **options: Any) -> None:
    async def run() -> None:
        world = World(**options)
        await play(world)
        await world.rights.stop()

    asyncio.run(run())


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


def test_a_right_that_is_taken_is_gone_within_a_minute_and_a_call_before_that_never_waits() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.says = False
        world.now += FRESH_SECONDS + 1
        known = world.rights.known(WEB, CALL, POOL)
        assert known is not None
        assert known.allowed, "it holds while it is asked for again"
        await world.answered()
        assert not await world.allowed()
        world.server.says = True
        world.now += REFUSED_SECONDS + 1
        assert await world.allowed(), "a no is not kept for long"
        world.server.says = False
        world.now += KEPT_SECONDS + 1
        assert world.rights.known(WEB, CALL, POOL) is None
        assert not await world.allowed()

    played(play)


def test_while_nobody_answers_the_last_answer_holds_for_ten_minutes_and_then_it_is_no() -> None:
    async def play(world: World) -> None:
        assert await world.allowed()
        world.server.away = True
        world.now += KEPT_SECONDS + 1
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, MAINTAIN, POOL)
        assert await world.allowed()
        asked = len(world.server.asked)
        assert all([await world.allowed() for _ in range(100)])
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, MAINTAIN, POOL)
        assert len(world.server.asked) == asked, "and it is not asked all the time"
        world.now += PAUSE_SECONDS
        assert await world.allowed()
        await world.answered()
        assert len(world.server.asked) == asked + 1
        world.now += AWAY_SECONDS
        with pytest.raises(ServerUnavailable):
            await world.rights.check(WEB, CALL, POOL)
        world.server.away = False
        world.now += PAUSE_SECONDS
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


@pytest.mark.parametrize(("level", "written"), [("off", []), ("denied", [False]), ("all", [True, False])])
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
