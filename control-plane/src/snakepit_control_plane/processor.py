"""How long the thread of an event loop has waited for a processor, by the kernel's count: the loop itself isn't hooked."""

from __future__ import annotations

from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")


def waited_seconds() -> float:
    """Of the thread that asks, since it began: it could have run, and a neighbour had the processor, or a limit kept it from it.

    0 where the kernel doesn't count that, as elsewhere than on Linux.
    """
    try:
        _, waited, _ = _SCHEDULED.read_text().split()
        return int(waited) / 1e9
    except (OSError, ValueError):
        return 0.0
