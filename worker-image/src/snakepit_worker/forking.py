"""What keeps a process from being forked: threads and connections that an import has left. A fork has no thread but its own, and
shares each connection with its siblings, so that both break in ways that are hard to find.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

SETTLE_SECONDS = 0.1
"""Threads of an import that has just ended may need a moment to end too."""


def threads() -> int:
    """Threads of this process, those of native libraries included."""
    return len(list(Path("/proc/self/task").iterdir()))


def sockets() -> dict[int, str]:
    """Open sockets: descriptor and identity."""
    found = {}
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of this very listing
            target = str(each.readlink())
            if target.startswith("socket:"):
                found[int(each.name)] = target
    return found


def watched(work: Callable[[], object]) -> str:
    """Do it; what it has left that a fork would break, as part of a sentence, or nothing."""
    before = set(sockets().values())
    work()
    left = [_describe_threads(), _describe_sockets([each for each, target in sockets().items() if target not in before])]
    return " and ".join(filter(None, left))


def _describe_threads() -> str:
    end = time.monotonic() + SETTLE_SECONDS
    while (count := threads() - 1) and time.monotonic() < end:
        time.sleep(0.005)
    if not count:
        return ""
    names = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
    who = ", ".join(names[:3]) if names else "not Python's: of BLAS or OpenMP, OMP_NUM_THREADS=1 prevents them"
    return f"{count} thread{'s' * (count > 1)} ({who})"


def _describe_sockets(descriptors: list[int]) -> str:
    if not descriptors:
        return ""
    return f"{len(descriptors)} open socket{'s' * (len(descriptors) > 1)} ({', '.join(map(_peer, descriptors[:3]))})"


def _peer(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        try:
            peer = sock.getpeername()
        except OSError:
            return "not connected"
    return ":".join(map(str, peer[:2])) if isinstance(peer, tuple) else str(peer or "a pair")
