"""How slow the store's answers are of late: not once, but in several spells of the last minute. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from snakepit_control_plane.model.history import BOUNDS, quantile

SPELL_SECONDS = 10.0

SPELLS = 6
"""That are looked at, with the one that goes on."""

SLOW_SPELLS = 3
"""What fewer of them have is a blip."""

SHARE = 0.99
"""Of a spell's answers; the rest are its slow ones. So has it the alert SnakepitStoreSlow."""


class StorePace:
    """Is told of each answer. `clock`: in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._spells: deque[tuple[int, list[int]]] = deque(maxlen=SPELLS)

    def answered(self, seconds: float) -> None:
        """The store has, after so long."""
        spell = self._spell()
        if not self._spells or self._spells[-1][0] != spell:
            self._spells.append((spell, [0] * (len(BOUNDS) + 1)))
        self._spells[-1][1][bisect_left(BOUNDS, seconds)] += 1

    @property
    def seconds(self) -> float:
        """So long its slow answers have taken in SLOW_SPELLS spells, in each at least; 0: there were not so many spells with answers."""
        first = self._spell() - SPELLS + 1
        slow = sorted((quantile(counts, SHARE) for spell, counts in self._spells if spell >= first), reverse=True)
        return slow[SLOW_SPELLS - 1] if len(slow) >= SLOW_SPELLS else 0.0

    def _spell(self) -> int:
        return int(self._clock() // SPELL_SECONDS)
