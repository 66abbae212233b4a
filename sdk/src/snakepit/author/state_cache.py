"""What a worker remembers of its sessions' state, so that reads cost nothing for a moment. Pure; it asks nobody."""

from __future__ import annotations

from collections import OrderedDict

from snakepit._ipc.frames import StateAnswer

CACHE_SECONDS = 1.0
"""A write elsewhere is seen at the latest after this."""

CACHE_KEYS = 1024


class StateCache:
    """What a worker last saw of its sessions' keys, for `CACHE_SECONDS`; the least recently used go first. `now` is monotonic."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, int, str], tuple[float, StateAnswer]] = OrderedDict()

    def get(self, session: tuple[str, int], key: str, now: float) -> StateAnswer | None:
        entry = self._entries.get((*session, key))
        return entry[1] if entry is not None and now < entry[0] else None

    def put(self, session: tuple[str, int], key: str, answer: StateAnswer, now: float) -> None:
        self._entries[(*session, key)] = (now + CACHE_SECONDS, answer)
        self._entries.move_to_end((*session, key))
        if len(self._entries) > CACHE_KEYS:
            self._entries.popitem(last=False)

    def forget(self, session: tuple[str, int], key: str) -> None:
        self._entries.pop((*session, key), None)
