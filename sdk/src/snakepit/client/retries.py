"""Whether a call that failed goes out once more, and when: what never started, and what may run twice, within deadline and budget. Pure.

Which replica it goes to is decided by the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from snakepit._retry import CALLS, RetryBudget
from snakepit._telemetry.span import Span
from snakepit.errors import Draining, SnakepitError, Started, Status

MOST_TRIES = 5
"""A call goes out no more often, and so often at most a link may break under it before it has left."""


class Tries:
    """How often one call has gone out. `avoided`: who refused it and still takes others. `lost`: how it failed when it may have run."""

    __slots__ = ("_budget", "avoided", "deadline", "lost", "number", "span", "unsent")

    def __init__(self, budget: RetryBudget, deadline: float | None, now: float, span: Span | None = None) -> None:
        budget.count(now)
        self._budget = budget
        self.deadline = deadline
        self.number = 1
        self.unsent = 0
        self.avoided: set[Hashable] = set()
        self.lost: SnakepitError | None = None
        self.span = span

    def once_more(self, now: float, random: Callable[[], float]) -> float | None:
        """Seconds to wait before it goes out again; None: it doesn't. Not None counts as a try."""
        pause = CALLS.jittered(self.number, random)
        if self.number >= MOST_TRIES or (self.deadline is not None and now + pause >= self.deadline):
            return None
        if not self._budget.spend(now):
            return None
        self.number += 1
        return pause

    def still_unsent(self) -> bool:
        """It never left, so that sending it is no second try. False: it has been so too often."""
        self.unsent += 1
        return self.unsent < MOST_TRIES

    def told(self, error: SnakepitError) -> SnakepitError:
        """What the caller is told: a call that may have run once is not said to have never started because a later try was refused."""
        error.__suppress_context__ = True  # What came before it is in the log.
        if self.lost is None or error.started is not Started.NO:
            return error
        self.lost.__cause__ = error
        return self.lost


def is_elsewhere(error: SnakepitError) -> bool:
    """Is it this replica that can't take the call now, and was it never started?"""
    return isinstance(error, Draining) or (error.status is Status.UNAVAILABLE and error.started is Started.NO)
