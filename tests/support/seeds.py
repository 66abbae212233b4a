"""Which seeds simulations play: the same ones in every run, and beside them some that no run has played yet.

SNAKEPIT_FRESH_SEEDS: how many of the latter (50; a nightly run has more, 0: none).
SNAKEPIT_FRESH_FROM: the first of them, which each run draws.
"""

from __future__ import annotations

import os
import secrets

FRESH = 50
LOWEST = 10_000_000
"""Nobody plays so many from 0 on."""


def choose() -> None:
    """Once for a run, for all of its processes: their tests have the same names."""
    os.environ.setdefault("SNAKEPIT_FRESH_FROM", str(LOWEST + secrets.randbelow(10**9)))


def fresh() -> range:
    first, count = int(os.environ["SNAKEPIT_FRESH_FROM"]), int(os.environ.get("SNAKEPIT_FRESH_SEEDS", FRESH))
    return range(first, first + count)


def said() -> str:
    """For the head of a run."""
    return f"fresh seeds: SNAKEPIT_FRESH_FROM={fresh().start} SNAKEPIT_FRESH_SEEDS={len(fresh())}"


def blocks(variable: str, fixed: int, size: int) -> list[range]:
    """In pieces of `size`: those from 0 to `fixed`, or to what the variable says, and the fresh ones; for `first:last`, those alone."""
    first, alone, last = os.environ.get(variable, str(fixed)).rpartition(":")
    played = [range(int(first or 0), int(last)), *([] if alone else [fresh()])]
    return [seeds[n : n + size] for seeds in played for n in range(0, len(seeds), size)]
