"""Did a call wait although a worker had nothing to do? Read from when each call was asked for, begun and ended. Pure."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple


class Spell(NamedTuple):
    """A call's story on one clock: asked, begun, ended."""

    asked: float
    begun: float
    ended: float


def longest_wrong_wait(spells: Sequence[Spell], workers: int) -> float:
    """Seconds: of all calls, the longest time in one piece that it waited while fewer than `workers` calls ran."""
    idle = _idle_times(spells, workers)
    starts = [begin for begin, _ in idle]
    return max((_overlap(idle, bisect.bisect_left(starts, each.asked), each) for each in spells), default=0.0)


def _idle_times(spells: Sequence[Spell], workers: int) -> list[tuple[float, float]]:
    changes = sorted([(each.begun, 1) for each in spells] + [(each.ended, -1) for each in spells])
    idle: list[tuple[float, float]] = []
    running, since = 0, -math.inf
    for at, step in changes:
        if step > 0 and running + 1 == workers:
            idle.append((since, at))
        elif step < 0 and running == workers:
            since = at
        running += step
    return [*idle, (since, math.inf)]


def _overlap(idle: Sequence[tuple[float, float]], first: int, spell: Spell) -> float:
    """`first` is the first idle time that begins within the wait; the one before may reach into it."""
    longest = 0.0
    for begin, end in idle[max(0, first - 1) :]:
        if begin >= spell.begun:
            break
        longest = max(longest, min(end, spell.begun) - max(begin, spell.asked))
    return longest
