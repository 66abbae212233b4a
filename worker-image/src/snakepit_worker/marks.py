"""Tells whose descendant a process is, whatever it did to get away: a new session, a double fork, another program, an empty environment.

The mark is the soft limit RLIMIT_LOCKS, which every child inherits, which nothing resets, and which Linux has ignored since 2.4.25.
A sandbox that refuses it leaves its processes unmarked: then a worker takes its process group along, and nothing else.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import secrets
from collections.abc import Iterable
from pathlib import Path

from snakepit_worker.processes import has_ended

_LOCKS = 10
_LIVES = 1 << 24
_LARGEST = (1 << 62) - 1

logger = logging.getLogger("snakepit.keeper")


class Marks:
    """Those that one keeper gives: a number of its own for each life of a process."""

    def __init__(self) -> None:
        self._first = secrets.randbelow(_LARGEST // _LIVES - 1) * _LIVES + _LIVES
        self._next = self._first
        self._of: dict[int, int] = {}

    def put(self, pid: int) -> None:
        """On a process that has no children yet: its descendants bear the mark too."""
        self._next += 1
        try:
            _, hard = resource.prlimit(pid, _LOCKS)
            resource.prlimit(pid, _LOCKS, (self._next, hard))
        except (OSError, ValueError) as error:
            logger.warning("what process %s starts can't be marked, so a session of its own may outlive it: %s", pid, error)
        else:
            self._of[pid] = self._next

    def drop(self, pid: int) -> None:
        """The process has ended."""
        self._of.pop(pid, None)

    def left_over(self, pids: Iterable[int]) -> list[int]:
        """Of these, the descendants of processes that have ended."""
        alive = set(self._of.values())
        return [pid for pid in pids if self._is_ours(mark := _mark(pid)) and mark not in alive]

    def everybody(self) -> list[int]:
        """Every process on this machine that bears a mark of this keeper's and has not ended."""
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        return [pid for pid in pids if self._is_ours(_mark(pid)) and not has_ended(pid)]

    def _is_ours(self, mark: int) -> bool:
        return self._first < mark < self._first + _LIVES


def _mark(pid: int) -> int:
    with contextlib.suppress(OSError):  # gone, or somebody else's
        return resource.prlimit(pid, _LOCKS)[0]
    return 0
