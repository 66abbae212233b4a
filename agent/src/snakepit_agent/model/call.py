"""A call that this capsule holds, and what is due when its tool doesn't end. Pure; `now` is monotonic seconds."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WORD_SECONDS = 0.1
"""A call that has met its deadline is answered by its worker's own word, which alone knows whether the tool's first line has run. Then
the agent answers without it: replicas wait twice as long for their agents."""

LOOK_SECONDS = 0.05
"""How long before that its worker is asked where the tool is."""

DUMP_SECONDS = 0.5
"""Between the request for a stack dump and the kill."""


class Step(enum.Enum):
    """What is due for a call that should have ended."""

    DEADLINE = "its deadline has passed"
    LOOK = "its worker has not said how it ended: ask where the tool is"
    ANSWER = "its worker has still not said how it ended: tell its caller"
    DUMP = "its tool did not stop: write its stack to the log"
    KILL = "its tool did not stop: kill the worker"


_AFTER = {Step.DEADLINE: Step.LOOK, Step.LOOK: Step.ANSWER, Step.ANSWER: Step.DUMP, Step.DUMP: Step.KILL, Step.KILL: Step.KILL}


@dataclass(slots=True)
class HeldCall:
    """A call that this capsule has admitted and whose tool has not ended. `id` is ours; `remote` is its replica's.

    `due` and `step`: what comes next when it doesn't end, at the latest the end of its worker at `kill_at`. `stopping`: why its tool was
    told to stop. `answered`: its caller has the outcome already, while the tool still runs.
    """

    id: int
    remote: int
    replica: str
    incarnation: str
    call_id: str
    tool: str
    stream: bool = False
    session_id: str = ""
    session_uid: str = ""
    session_epoch: int = 0
    traceparent: str = ""
    span: Any = None
    admitted: float = 0.0
    estimate: float = 0.0
    due: float = math.inf
    step: Step = Step.DEADLINE
    kill_at: float = math.inf
    stopping: str = ""
    # Of its worker: the thread that runs it, and where in the tool that was when last looked at.
    thread: int = 0
    at: str = ""
    answered: bool = False
    large: bool = False
    """Its arguments come in pieces."""
    strict: bool = False
    """Its session stays with its worker."""
    at_end: tuple[Callable[[HeldCall], None], ...] = ()
    """What the stages that it went through have to undo when it is held no more, whether it ran or not."""

    def then(self, undo: Callable[[HeldCall], None]) -> None:
        """Have `undo` called with the call at its end, before those that were added earlier."""
        self.at_end = (undo, *self.at_end)

    def ended(self) -> None:
        """The call is held no more."""
        for undo in self.at_end:
            undo(self)

    def stop_by(self, reason: str, kill_at: float, answer_at: float = math.inf) -> None:
        """Its tool was told to stop (CANCELLED, DEADLINE): dump its stack and kill its worker when it has not by `kill_at`.

        `answer_at`: when its caller is told, if its worker says nothing before.
        """
        self.stopping, self.kill_at = reason, kill_at
        self.step, self.due = (Step.LOOK, min(answer_at, kill_at) - LOOK_SECONDS) if answer_at < math.inf else (Step.DUMP, kill_at)

    def advance(self, now: float) -> Step:
        """What was due is being done: it, and the next one gets its time."""
        step = self.step
        self.step, self.due = _AFTER[step], math.inf
        if step is Step.LOOK:
            self.due = now + LOOK_SECONDS
        elif step is Step.ANSWER:
            self.due = self.kill_at
        elif step is Step.DUMP:
            self.due = now + DUMP_SECONDS
        return step
