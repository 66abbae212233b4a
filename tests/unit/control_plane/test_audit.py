"""The audit log: how much of it there may be."""

from __future__ import annotations

import json
import logging

import pytest

from snakepit_control_plane.authorization import audit as module
from snakepit_control_plane.authorization.audit import DENIALS_A_MINUTE, LAST, Audit
from snakepit_control_plane.model.caller import Caller
from snakepit_control_plane.policy.rights import CALL, CANCEL_CALL, CHANGE_SESSION, DELETE_SESSION, LOOK, MAINTAIN, Answer

NO, YES = Answer(allowed=False), Answer(allowed=True)
EVE, ADA, GATEWAY = (Caller(name, name) for name in ("eve", "ada", "gateway"))
EVE_THERE = Caller("eve", "eve", bearer=GATEWAY, has_token=True)
POOL = "shop/digits"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def written(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    found = [json.loads(record.getMessage()) for record in caplog.records]
    caplog.clear()
    return found


def test_of_one_subject_so_many_denials_are_written_in_a_minute_and_the_last_one_says_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    audit = Audit("all", clock)
    with caplog.at_level(logging.INFO, "snakepit.audit"):
        for number in range(10 * DENIALS_A_MINUTE):
            audit.decided(EVE, CALL, f"shop/{number}", NO)
            clock.now += 0.01
        assert [line.get("note", "") for line in written(caplog)] == [""] * (DENIALS_A_MINUTE - 1) + [LAST]
        for other in (ADA, EVE_THERE):
            audit.decided(other, CALL, POOL, NO)
        for _ in range(2 * DENIALS_A_MINUTE):
            audit.decided(EVE, CALL, POOL, YES)
        assert len(written(caplog)) == 2 + 2 * DENIALS_A_MINUTE, "nobody else's is left out, and no deed"
        clock.now = 60.0
        audit.decided(EVE, CALL, POOL, NO)
        assert len(written(caplog)) == 1


def test_what_somebody_does_to_the_work_of_others_is_written_unless_denials_alone_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "snakepit.audit"):
        for audit in (Audit(), Audit("denied"), Audit("off")):
            for right in (CALL, LOOK, CHANGE_SESSION, MAINTAIN, CANCEL_CALL, DELETE_SESSION):
                audit.decided(ADA, right, POOL, YES)
    assert [line["right"] for line in written(caplog)] == [str(each) for each in (MAINTAIN, CANCEL_CALL, DELETE_SESSION)]


def test_subjects_are_forgotten_beyond_a_number_of_them(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    monkeypatch.setattr(module, "DENIALS_A_MINUTE", 1)
    audit = Audit()
    with caplog.at_level(logging.INFO, "snakepit.audit"):
        for name in ("eve", "eve", "a", "b", "eve", "c", "eve", "a"):
            audit.decided(Caller(name, name), CALL, POOL, NO)
    assert [line["subject"] for line in written(caplog)] == ["eve", "a", "b", "c", "a"]
