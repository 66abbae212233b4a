"""Whose turn it is, and when; and that the API server refused a pod, so that it is not asked for each time. No clock here."""

from __future__ import annotations

from msgspec import Struct

from snakepit._retry import Backoff
from snakepit.spec.fields import SnakePool

RETRY_SECONDS = Backoff(1.0, 60.0)
"""First and longest pause. It doubles with each refusal of the same spec."""


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
        """The look at `name` is over."""
        self._busy.discard(name)

    def next_due(self) -> float | None:
        """When `take` may have something again, if nothing is added."""
        return min((due for name, due in self._due.items() if name not in self._busy), default=None)


class Refusal(Struct, frozen=True):
    """The last refusal of one spec. `until`: not asked again before that (Unix seconds). `problem`: reason and sentence."""

    uid: str
    generation: int
    attempt: int
    until: float
    problem: tuple[str, str]

    @classmethod
    def after(cls, before: Refusal | None, pool: SnakePool, now: float, problem: tuple[str, str]) -> Refusal:
        """The refusal of the pool's spec as it is now; each of the same spec in a row is held longer."""
        attempt = before.attempt + 1 if before is not None and before._is_of(pool) else 0
        until = now + RETRY_SECONDS.seconds(attempt + 1)
        return cls(pool.metadata.uid, pool.metadata.generation, attempt, until, problem)

    def holds(self, pool: SnakePool, now: float) -> bool:
        """Does it still stand for this very spec?"""
        return self._is_of(pool) and now < self.until

    def _is_of(self, pool: SnakePool) -> bool:
        return (self.uid, self.generation) == (pool.metadata.uid, pool.metadata.generation)
