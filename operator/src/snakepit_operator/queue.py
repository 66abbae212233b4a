"""Whose turn it is, and when. No clock here."""

from __future__ import annotations


class DueQueue:
    """Names with the time at which each is due. Bounded by the number of names."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._busy: set[str] = set()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, name: str, due: float) -> None:
        """Look at `name` at `due` at the latest."""
        self._due[name] = min(due, self._due.get(name, due))

    def take(self, now: float) -> str | None:
        """The name that has been due longest and isn't being looked at; `done` must follow."""
        ready = [(due, name) for name, due in self._due.items() if due <= now and name not in self._busy]
        if not ready:
            return None
        _, name = min(ready)
        del self._due[name]
        self._busy.add(name)
        return name

    def done(self, name: str) -> None:
        """The look at `name` is over, and another one may follow."""
        self._busy.discard(name)

    def next_due(self) -> float | None:
        """When `take` may have something again, if nothing is added."""
        return min((due for name, due in self._due.items() if name not in self._busy), default=None)
