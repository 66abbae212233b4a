"""Measures the workers' memory for the keeper, in a thread of its own: the kernel may take tens of milliseconds for a large process.

The agent can't see the processes of another container, and a worker that is busy in C can't speak for itself. It decides nothing.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PAUSE_SECONDS = 2.0
SHARE = 20
"""The pause after a round is at least so many times as long as the round took."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_PRIVATE = re.compile(rb"^Private_\w+: +(\d+) kB$", re.MULTILINE)

Target = tuple[int, str, int]
"""A worker's pid, its incarnation, and from how many bytes on its own memory is of interest; 0: never."""

Measure = tuple[str, int, int]
"""Incarnation, resident bytes, and those of them that no other process shares; 0: not measured."""


def measure(pid: int, interest: int) -> tuple[int, int] | None:
    """Resident and own bytes; None: the process is gone. A process can't own more than is resident, so that is looked at first."""
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
        return resident, own_bytes(pid) if interest and resident >= interest else 0
    except (OSError, IndexError):
        return None


def own_bytes(pid: int) -> int:
    """What would be free if the process ended: forked workers share the pages that none of them has written. Raises OSError."""
    return sum(map(int, _PRIVATE.findall(Path(f"/proc/{pid}/smaps_rollup").read_bytes()))) * 1024


class Meter:
    """Calls `tell` in its thread, with what it measured in a round."""

    def __init__(self, targets: Callable[[], Iterable[Target]], tell: Callable[[list[Measure]], None]) -> None:
        self._targets = targets
        self._tell = tell

    def start(self) -> None:
        """Begin the rounds, in a thread that ends with the process."""
        threading.Thread(target=self._run, name="memory", daemon=True).start()

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            found = [(life, *sizes) for pid, life, interest in self._targets() if (sizes := measure(pid, interest)) is not None]
            if found:
                self._tell(found)
            time.sleep(max(PAUSE_SECONDS, SHARE * (time.monotonic() - began)))
