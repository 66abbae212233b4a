"""How often and how soon something is tried again: a budget, so that retries never become a storm, and a jittered pause. Pure.

Which failures may be tried again is not decided here; that is each side's knowledge of whether the tool may have started.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

WINDOW_SECONDS = 10
"""A budget looks back so far."""

SHARE = 1.1**0.5 - 1
"""Of the first tries in that time, so many may be tried again: a little less than a twentieth. The client has a budget and the router has
one, for what the client has sent, first tries and others alike; so together they make at most a tenth more calls."""

FLOOR = 3
"""So many are always allowed in that time: a caller that makes few calls may retry too."""


class Backoff(NamedTuple):
    """Pauses between tries of one thing, in seconds: `first`, doubled after each failure in a row, and never above `longest`."""

    first: float
    longest: float

    def seconds(self, failures: int) -> float:
        """The pause after so many failures in a row (1, 2, …)."""
        return min(self.longest, self.first * 2.0 ** min(max(0, failures - 1), 30))

    def jittered(self, failures: int, random: Callable[[], float]) -> float:
        """Anywhere between no pause and `seconds`, so that many who failed together don't come back together.

        `random` gives numbers from 0 to 1, as `random.random` does.
        """
        return random() * self.seconds(failures)

    def after(self, pause: float) -> float:
        """The pause that follows this one; 0: the first."""
        return min(self.longest, pause * 2) if pause else self.first


CALLS = Backoff(0.02, 2.0)
"""Between the tries of one call."""


class RetryBudget:
    """In any `window` seconds at most `share` of the first tries counted in them are tried again, or `floor` where that is more.

    Times are seconds of any clock that does not go backwards. It holds a pair of numbers for each second of the window: what is in
    doubt at its edges counts against the spender, so the bound is exact.
    """

    __slots__ = ("_calls", "_extra", "_floor", "_share", "_until", "_window")

    def __init__(self, *, share: float = SHARE, floor: int = FLOOR, window: int = WINDOW_SECONDS) -> None:
        self._share = share
        self._floor = floor
        self._window = window
        # One bucket a second; the newest is the last. Extra tries are kept a second longer than calls.
        self._calls = [0] * window
        self._extra = [0] * (window + 1)
        self._until = float("-inf")

    def count(self, now: float) -> None:
        """A first try is made."""
        if now >= self._until:
            self._advance(now)
        self._calls[-1] += 1

    def spend(self, now: float) -> bool:
        """May one more be tried again? True counts it as done."""
        if now >= self._until:
            self._advance(now)
        if sum(self._extra) + 1 > max(self._floor, self._share * sum(self._calls)):
            return False
        self._extra[-1] += 1
        return True

    def _advance(self, now: float) -> None:
        """Begin the bucket of the second that `now` is in."""
        second = now // 1
        passed = int(min(second + 1 - self._until, self._window + 1)) if self._until > float("-inf") else 0
        self._until = second + 1
        if passed:
            self._calls = [*self._calls[passed:], *[0] * passed][-self._window :]
            self._extra = [*self._extra[passed:], *[0] * passed][-self._window - 1 :]
