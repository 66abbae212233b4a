"""An interrupt is raised once a call, and never inside a shield: what waited inside one was told in another way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from snakepit.author.context import Interrupted
from snakepit_worker.interrupts import SIGNAL, Interrupts, ThreadInterrupts


@dataclass
class Call:
    reason: str = ""


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = signal.getsignal(SIGNAL)
    made = Interrupts()
    made.install()
    yield made
    signal.signal(SIGNAL, before)


def test_what_was_told_inside_a_shield_is_not_told_again(interrupts: Interrupts) -> None:
    def work() -> str:
        try:
            with interrupts.shielded:
                interrupts.interrupt(1, "CANCELLED")
                raise Interrupted("CANCELLED")
        except Interrupted:
            pass  # as a tool that is told by what it waits for
        with interrupts.shielded:
            pass
        return "finished"

    assert interrupts.run(1, work) == "finished"


def test_what_came_while_a_shield_was_up_is_raised_at_its_end(interrupts: Interrupts) -> None:
    reached = []

    def work() -> None:
        with interrupts.shielded:
            with interrupts.shielded:
                interrupts.interrupt(1, "DEADLINE")
            reached.append("the inner end")
        reached.append("the outer end")

    with pytest.raises(Interrupted, match="deadline"):
        interrupts.run(1, work)
    assert reached == ["the inner end"]


def test_an_error_that_leaves_a_shield_is_not_replaced_by_the_interrupt(interrupts: Interrupts) -> None:
    def work() -> None:
        with interrupts.shielded:
            interrupts.interrupt(1, "DEADLINE")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupts.run(1, work)


def test_in_a_thread_what_was_told_inside_a_shield_is_not_told_again() -> None:
    interrupts, call, ended = ThreadInterrupts(), Call(), list[str]()

    def work() -> None:
        try:
            with interrupts.shielded:
                call.reason = "CANCELLED"
                interrupts.interrupt(call)
                raise Interrupted("CANCELLED")
        except Interrupted:
            pass  # as a tool that is told by what it waits for
        interrupts.interrupt(call)
        with interrupts.shielded:
            pass
        ended.append("finished")

    thread = threading.Thread(target=interrupts.run, args=(call, work))
    thread.start()
    thread.join(10)
    assert ended == ["finished"]


def test_in_a_thread_what_came_while_a_shield_was_up_is_raised_at_its_end() -> None:
    interrupts, call, ended = ThreadInterrupts(), Call(), list[str]()

    def work() -> None:
        with interrupts.shielded:
            call.reason = "DEADLINE"
            interrupts.interrupt(call)
            ended.append("inside")
        ended.append("outside")

    def run() -> None:
        with pytest.raises(Interrupted, match="deadline"):
            interrupts.run(call, work)
        ended.append("interrupted")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert ended == ["inside", "interrupted"]
