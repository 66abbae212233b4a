"""Which seeds simulations play: the same ones in every run, and some that no run has played. And what is said of one that fails.

SNAKEPIT_FRESH_SEEDS: how many of the latter (50; a nightly run has more, 0: none).
SNAKEPIT_FRESH_FROM: the first of them, which each run draws.
"""

from __future__ import annotations

import contextlib
import gc
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

FRESH = 50
LOWEST = 10_000_000
"""Nobody plays so many from 0 on."""

LINES = 150
"""Of what happened, the last ones are told."""


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


def play_each(seeds: Iterable[int], variable: str, play: Callable[[int], tuple[str, Sequence[str]]]) -> None:
    """`play` says what went wrong (no word: nothing) and what had happened. A seed that fails is named, with how to play it again."""
    for seed in seeds:
        again = f"again: {variable}={seed}:{seed + 1} make simulate"
        try:
            with _uncollected():
                problem, trace = play(seed)
        except Exception as error:
            error.add_note(again)
            raise
        if problem:
            print(*trace[:1], *trace[1:][-LINES:], sep="\n")
            pytest.fail(f"seed {seed}: {problem}\n{again}", pytrace=False)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """To look for cycles again and again is a sixth of the time: what a seed leaves is collected after it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(1)


def determines(expression: str, module: str, seeds: int) -> bool:
    """Whether `expression` of `play(seed)` is the same whatever the order of sets and of addresses in a process is, and isn't nothing."""
    program = f"import sys; from {module} import play; [print(*{expression}) for seed in map(int, sys.argv[1:])]"
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program, *map(str, range(seeds))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    )
    return first == second != b""
