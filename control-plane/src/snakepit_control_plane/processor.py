"""How long the thread of an event loop has had something to do, by the kernel's count: the loop itself isn't hooked."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")


def busy_seconds() -> float:
    """Of the thread that asks, since it began: it ran, or waited for a processor that a neighbour had, or a limit kept from it.

    Where the kernel doesn't count the waits, as elsewhere than on Linux, they are missing.
    """
    try:
        ran, waited, _ = _SCHEDULED.read_text().split()
    except (OSError, ValueError):
        return time.thread_time()
    return (int(ran) + int(waited)) / 1e9
