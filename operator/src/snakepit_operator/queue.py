"""Which pools want a look, and when; and whose pods the API server refused, so that they are not asked for at each look. No clock here."""

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

    def is_of(self, pool: SnakePool) -> bool:
        """Is it about this very spec of this very pool?"""
        return (self.uid, self.generation) == (pool.metadata.uid, pool.metadata.generation)


class Refusals:
    """The last refusal of each pool. Its owner forgets pools that are gone, so there are no more than pools."""

    def __init__(self) -> None:
        self._known: dict[str, Refusal] = {}

    def held(self, name: str, pool: SnakePool, now: float) -> Refusal | None:
        """The refusal that still stands for this very spec, if one does."""
        known = self._known.get(name)
        return known if known is not None and known.is_of(pool) and now < known.until else None

    def refused(self, name: str, pool: SnakePool, now: float, problem: tuple[str, str]) -> Refusal:
        """Remember it; each in a row is held longer."""
        before = self._known.get(name)
        attempt = before.attempt + 1 if before is not None and before.is_of(pool) else 0
        until = now + RETRY_SECONDS.seconds(attempt + 1)
        refusal = self._known[name] = Refusal(pool.metadata.uid, pool.metadata.generation, attempt, until, problem)
        return refusal

    def forget(self, name: str) -> None:
        """Forget the pool's refusal: its pods are taken again, or it is gone."""
        self._known.pop(name, None)
