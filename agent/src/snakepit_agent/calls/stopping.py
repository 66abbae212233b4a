"""Calls that should end: by a cancellation, a deadline, or because their session has moved. First a word to the tool, at last by force."""

from __future__ import annotations

import math
import time

from snakepit._ipc.frames import CallFailure
from snakepit._ipc.worker import CancelCall
from snakepit.errors import Started
from snakepit_agent.calls import results
from snakepit_agent.calls.answers import Answers
from snakepit_agent.calls.execution import Execution
from snakepit_agent.link.translate import Outcome, failure
from snakepit_agent.model.call import WORD_SECONDS, HeldCall, Step
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.stacks import where
from snakepit_agent.workers.supervisor import Supervisor


class Stopping:
    """`kill_after`: seconds that a tool has to stop after it was told to."""

    def __init__(self, ledger: Ledger, supervisor: Supervisor, execution: Execution, answers: Answers, kill_after: float) -> None:
        self._ledger = ledger
        self._supervisor = supervisor
        self._processes = supervisor.processes
        self._execution = execution
        self._answers = answers
        self.kill_after = kill_after

    def stop(self, held: HeldCall, reason: str, outcome: Outcome = None, answer_at: float = math.inf) -> None:
        """Before it began: it never runs. Else its tool is told to stop, and its slot is free when it has.

        Its caller is told `outcome` now, or at `answer_at` if the worker says nothing before.
        """
        if self._execution.take_back(held):
            self._execution.never_started(held, _never_began(reason))
            return
        held.stop_by(reason, time.monotonic() + self.kill_after, answer_at)
        self._processes.tell(held.incarnation, CancelCall(held.id, reason))
        if outcome is not None:
            self._answers.answer(held, outcome)

    def stop_once(self, held: HeldCall, reason: str, outcome: Outcome = None) -> None:
        """The same, unless it has ended, or was told to stop before, which gives it no more time."""
        if held.id in self._ledger.calls and not held.stopping:
            self.stop(held, reason, outcome)

    def idle(self, held: HeldCall, seconds: float) -> None:
        """The stream's tool says nothing, though everything it said was taken."""
        message = f"tool {held.tool} said nothing for {seconds:g} s (call.streamIdleSeconds)"
        self.stop_once(held, "DEADLINE", failure("DEADLINE", message, Started.YES, {"limit": "call.streamIdleSeconds"}))

    def give_up(self, held: HeldCall, reason: str) -> None:
        """It waited for its session's turn, and nobody waits for it any more."""
        self._answers.end(held, _never_began(reason))

    def fence(self, held: HeldCall, outcome: CallFailure) -> None:
        """The call's session has moved on: if it runs, it is told to stop and its caller gets `outcome`; else it is given back."""
        if self._execution.take_back(held):
            self._execution.give_back([held.id], "RELEASED")
        elif not held.stopping:
            self.stop(held, "CANCELLED", outcome)

    def tick(self, now: float) -> None:
        """Do what is due for calls that should have ended."""
        for held, step in self._ledger.overdue(now):
            match step:
                case Step.DEADLINE:
                    self.stop(held, "DEADLINE", answer_at=now + WORD_SECONDS)
                case Step.LOOK:
                    self._processes.dump(held.incarnation)
                case Step.ANSWER:
                    self._look(held)
                    self._answers.answer(held, failure(held.stopping, results.unstopped(held), results.started(held)))
                case Step.DUMP:
                    self._processes.dump(held.incarnation, anew=not held.at)
                case Step.KILL:
                    self._look(held)
                    self._supervisor.kill(held.incarnation, "ToolDidNotStop", results.unstopped(held))

    def _look(self, held: HeldCall) -> None:
        """Where the tool was when its worker's stacks were asked for."""
        if (stacks := self._processes.channels[held.incarnation].stacks) is not None:
            held.at = where(stacks.read(), held.thread) or held.at


def _never_began(reason: str) -> CallFailure:
    """The end of a call whose caller gave it up, or whose deadline passed, before a worker had it."""
    return failure(reason, results.STOPPED.get(reason, reason), Started.NO)
