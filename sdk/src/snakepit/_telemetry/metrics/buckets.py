"""How a histogram counts: in fine buckets that both the classic ones and Prometheus' native ones are made of when somebody scrapes. Pure.

A value is looked up once. The bounds of both kinds of buckets are in one list, so that each fine bucket lies in one bucket of either kind.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

SCHEMA = 3
"""Of native buckets: eight to each power of two, so that a value is known to 9 %."""

LEAST_KEY, MOST_KEY = -20 * 2**SCHEMA, 14 * 2**SCHEMA
"""Native buckets are known by the power of their upper bound: of seconds, from a microsecond to four and a half hours."""

ZERO = 2.0**-20
"""What is no larger counts as nothing. What is larger than all bounds is in the bucket behind the last one."""


class Native(NamedTuple):
    """A native histogram's buckets: how many values are in the one of zero, and in others by their keys, ascending."""

    zero: int
    counts: Sequence[tuple[int, int]]


class Bounds:
    """All bounds of a histogram whose classic buckets have these upper ones."""

    def __init__(self, classic: Sequence[float]) -> None:
        fine = [2.0 ** (key / 2**SCHEMA) for key in range(LEAST_KEY, MOST_KEY + 1)]
        self.classic = tuple(classic)
        self.all = sorted({*fine, *classic})
        """`bisect_left` of these is the fine bucket of a value."""
        self.classic_of = [*(bisect_left(self.classic, bound) for bound in self.all), len(self.classic)]
        """By fine bucket, the place of the classic one that it is in."""
        self._keys = [*(LEAST_KEY + bisect_left(fine, bound) for bound in self.all), MOST_KEY + 1]

    def cumulative(self, counts: Mapping[int, int]) -> list[int]:
        """For each classic bucket, and the one without a bound, how many values are no larger than its bound."""
        found = [0] * (len(self.classic) + 1)
        for fine, count in counts.items():
            found[self.classic_of[fine]] += count
        return list(accumulate(found))

    def native(self, counts: Mapping[int, int]) -> Native:
        """The same values in native buckets."""
        found: dict[int, int] = {}
        for fine, count in sorted(counts.items()):
            key = self._keys[fine]
            found[key] = found.get(key, 0) + count
        return Native(found.pop(LEAST_KEY, 0), list(found.items()))


@functools.cache
def bounds_of(classic: tuple[float, ...]) -> Bounds:
    """One for all series of a row."""
    return Bounds(classic)
