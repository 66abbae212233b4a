"""Tells whose descendant a process is, whatever it did to get away: a new session, a double fork, another program, an empty environment.

The tag is the soft limit RLIMIT_LOCKS, which every child inherits, which nothing resets, and which Linux has ignored since 2.4.25.
A sandbox that refuses it leaves its processes untagged: then a worker takes its process group along, and nothing else.

Workers die with the keeper by a parent-death signal; their descendants would be left. So where the keeper is not PID 1 (local mode), a
guard outlives it by a moment and ends them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from snakepit_worker.processes import has_ended, signal_process

_LOCKS = 10
_LIVES = 1 << 24
_LARGEST = (1 << 62) - 1

logger = logging.getLogger("snakepit.keeper")


class Lineage:
    """The tags that one keeper gives: a number of its own for each life of a process."""

    def __init__(self) -> None:
        self._first = secrets.randbelow(_LARGEST // _LIVES - 1) * _LIVES + _LIVES
        self._next = self._first
        self._of: dict[int, int] = {}

    def tag(self, pid: int) -> None:
        """On a process that has no children yet: its descendants bear the tag too."""
        self._next += 1
        try:
            _, hard = resource.prlimit(pid, _LOCKS)
            resource.prlimit(pid, _LOCKS, (self._next, hard))
        except (OSError, ValueError) as error:
            logger.warning("what process %s starts can't be tagged, so a session of its own may outlive it: %s", pid, error)
        else:
            self._of[pid] = self._next

    def untag(self, pid: int) -> None:
        """The process has ended."""
        self._of.pop(pid, None)

    def left_over(self, pids: Iterable[int]) -> list[int]:
        """Of these, the descendants of processes that have ended."""
        alive = set(self._of.values())
        return [pid for pid in pids if self._is_ours(tag := _tag(pid)) and tag not in alive]

    def everybody(self) -> list[int]:
        """Every process on this machine that bears a tag of this keeper's and has not ended."""
        pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
        return [pid for pid in pids if self._is_ours(_tag(pid)) and not has_ended(pid)]

    def _is_ours(self, mark: int) -> bool:
        return self._first < mark < self._first + _LIVES


def _tag(pid: int) -> int:
    with contextlib.suppress(OSError):  # gone, or somebody else's
        return resource.prlimit(pid, _LOCKS)[0]
    return 0


_ROUNDS = 1000
_PAUSE_SECONDS = 0.005


class Guard:
    """The keeper's view. `pid` is 0 where no guard is needed: the end of PID 1 ends its whole namespace."""

    def __init__(self, lineage: Lineage, at_the_end: Callable[[], None]) -> None:
        self.pid = 0
        if os.getpid() != 1:
            reader, self._writer = os.pipe()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._writer)
                _stand_by(reader, lineage, at_the_end)
            os.close(reader)

    def dismiss(self) -> None:
        """End the guard, in good order."""
        if self.pid:
            os.close(self._writer)
            os.waitpid(self.pid, 0)


def _stand_by(reader: int, lineage: Lineage, at_the_end: Callable[[], None]) -> None:
    """Wait for the keeper's end, then end what it has left, and call that. Never returns."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.read(reader, 1)
    for _ in range(_ROUNDS):
        if not (left := lineage.everybody()):
            break
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        time.sleep(_PAUSE_SECONDS)
    at_the_end()
    os._exit(0)
