"""How often and how soon something is tried again: a budget, so that retries never become a storm, and a jittered pause. Pure.

Which failures may be tried again is not decided here; that is each side's knowledge of whether the tool may have started.
"""

from __future__ import annotations

from collections.abc import Callable

WINDOW_SECONDS = 10
"""A budget looks back so far."""

SHARE = 1.1**0.5 - 1
"""Of the first tries in that time, so many may be tried again: a little less than a twentieth. The client has a budget and the router has
one, for what the client has sent, first tries and others alike; so together they make at most a tenth more calls."""

FLOOR = 3
"""So many are always allowed in that time: a caller that makes few calls may retry too."""

FIRST_PAUSE_SECONDS = 0.02
MOST_PAUSE_SECONDS = 2.0


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


def backoff(attempt: int, random: Callable[[], float]) -> float:
    """Seconds to wait before the try after `attempt` failed ones (1, 2, …): doubling, bounded, and anywhere between none and all of it.

    `random` gives numbers from 0 to 1, as `random.random` does.
    """
    return random() * min(MOST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(max(0, attempt - 1), 30))
