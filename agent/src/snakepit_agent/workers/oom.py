"""Was it the kernel's out-of-memory killer? Reads the counter of the workers' cgroup through a descriptor that the keeper passed.

A kill counts for one death within a moment of it; what can't be read is not guessed.
"""

from __future__ import annotations

import os
import re
from collections import deque

FRESH_SECONDS = 2.0
"""The counter is read at every heartbeat and death: an older kill was of something that is no worker."""

_KILLS = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


class OomCounter:
    """`oom_kill` of a `memory.events` (cgroup v2) or `memory.oom_control` (v1) file. Owns the descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = self._read() or 0
        self._kills: deque[float] = deque(maxlen=1024)

    def observe(self, now: float) -> None:
        """Note new kills."""
        count = self._read()
        if count is None:
            return
        self._kills.extend([now] * min(count - self._seen, 1024))
        self._seen = count

    def explains(self, now: float) -> bool:
        """Is there a fresh kill that explains a death by SIGKILL? Each explains one."""
        self.observe(now)
        while self._kills and now - self._kills[0] > FRESH_SECONDS:
            self._kills.popleft()
        if not self._kills:
            return False
        self._kills.popleft()
        return True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _read(self) -> int | None:
        try:
            found = _KILLS.search(os.pread(self._descriptor, 4096, 0))
        except OSError:  # The cgroup may have gone with its container.
            return None
        return int(found[1]) if found else None
