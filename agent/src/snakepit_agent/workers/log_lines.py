"""What the capsule's processes have said last, out of the rings of its keepers. The keeper before counts too: its last lines say why it
ended."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator

import msgspec

from snakepit._ipc.log_ring import check_ring, read_ring
from snakepit._ipc.sockets import FramingError
from snakepit._telemetry.log_lines import decode

RINGS = 2
MOST_BYTES = 128 * 1024
"""Of one answer."""

log = logging.getLogger(__name__)


class LogLines:
    """Of one capsule. It owns the descriptors of its rings."""

    def __init__(self) -> None:
        self._rings: deque[int] = deque()

    @property
    def are_kept(self) -> bool:
        """Has any keeper brought a ring?"""
        return bool(self._rings)

    def keeper_came(self, ring: int) -> None:
        """Its ring is ours from now on."""
        try:
            check_ring(ring)
        except FramingError as error:
            log.warning("the keeper's log lines can't be shown: %s", error)
            os.close(ring)
            return
        self._rings.append(ring)
        if len(self._rings) > RINGS:
            os.close(self._rings.popleft())

    def close(self) -> None:
        """Forget all of it."""
        while self._rings:
            os.close(self._rings.pop())

    def last(self, limit: int, worker: str = "", call: str = "") -> list[str]:
        """So many lines at most, the oldest first, each as JSON: of a worker, of a call, or (empty) of whatever there is."""
        found: deque[str] = deque()
        room = MOST_BYTES
        for line in self._latest_first(worker, call):
            room -= len(line)
            if len(found) == limit or room < 0:
                break
            found.appendleft(line.decode("utf-8", "replace"))
        return list(found)

    def _latest_first(self, worker: str, call: str) -> Iterator[bytes]:
        """What is no line of ours is left out. To look for the text of an id first costs a hundredth of reading each line."""
        ids = [msgspec.json.encode(each) for each in (worker, call) if each]
        for ring in reversed(self._rings):
            lines = read_ring(ring)
            for id_ in ids:
                lines = [line for line in lines if id_ in line]
            yield from (line for line in reversed(lines) if _is_of(line, worker, call))


def _is_of(line: bytes, worker: str, call: str) -> bool:
    said = decode(line)
    return said is not None and worker in ("", said.worker) and call in ("", said.call)
