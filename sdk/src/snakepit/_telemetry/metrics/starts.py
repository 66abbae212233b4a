"""Since when a series that only grows has grown: one that begins anew says another time, so that nobody takes it for the old one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

Key = tuple[str, ...]


class Starts:
    """Of what one process pushes. Times in nanoseconds since the epoch; `began`: when it began to count.

    A series that the push before did not have, as its pool was gone or has just come, has counted from nothing since then; so has one that
    is smaller than it was. One that is forgotten between two pushes, and then outgrows what it was, is taken for the old one.
    """

    def __init__(self, began: int) -> None:
        self.began = self.last = began
        """`last`: when was pushed before; at first, the beginning."""
        self._before: dict[Key, tuple[int, float]] = {}
        self._now: dict[Key, tuple[int, float]] = {}

    def of(self, name: str, labels: Mapping[str, str], value: float) -> int:
        """Since when the series has counted, which has that value now. Ask once for each series of a push."""
        key = (name, *labels.values())
        start, before = self._before.get(key, (self.last, 0.0))
        if value < before:
            start = self.last
        self._now[key] = start, value
        return start

    def pushed(self, now: int) -> None:
        """All series have been asked for; `now`: the time from before the first of them was read."""
        self._before, self._now, self.last = self._now, {}, now
