"""The pools of this replica by their full names, and what is said of a name that none has."""

from __future__ import annotations

from collections.abc import Callable

from snakepit._values.strings import quoted
from snakepit.errors import SnakepitError
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.admission import no_pool, not_known_yet

RETURN_SECONDS = 10.0
"""So long after its start a replica may wait for the agents, and calls for the first worker of a pool that was there before it."""


class Pools(dict[str, Pool]):
    """`alive`: agents that hold a lease, as far as the store has said; `told`: the operator has spoken."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self.started = clock()
        self.alive: set[str] | None = None
        self.told = False
        self._linked: set[str] = set()
        self._returned = False

    def find(self, name: str) -> Pool:
        """The pool of that full name. Raises PoolNotFound, and PoolNotReady where it may be learnt of yet."""
        pool = self.get(name)
        if pool is None:
            raise self.unknown(name)
        return pool

    def named(self, name: str) -> Pool | None:
        """The pool, by its full name or, where its namespace is `default`, its name alone."""
        return self.get(name) or self.get(f"default/{name}")

    def unknown(self, name: str) -> SnakepitError:
        """The refusal of a name that no pool has."""
        return no_pool(name, self) if self.returned() else not_known_yet(f"whether there is a pool {quoted(name)}")

    def all(self) -> list[Pool]:
        """By name. Raises PoolNotReady while they may be learnt of yet: that there are none is no answer then."""
        if not self and not self.returned():
            raise not_known_yet("which pools there are")
        return [pool for _, pool in sorted(self.items())]

    def check_linked(self, pool: Pool) -> None:
        """Raises PoolNotReady while nobody has linked of those who may: that it has no workers is no answer then."""
        if not pool.capsules and not self.returned():
            raise not_known_yet(f"which workers pool {pool.name} has")

    def linked(self, incarnation: str) -> None:
        """That agent is here."""
        if not self._returned:
            self._linked.add(incarnation)

    def returned(self) -> bool:
        """Have the agents come back after a start? True after ten seconds in any case.

        Those that hold a lease are waited for. Where there is none, nobody may be alive, or the store has lost everything: the operator is
        waited for, which knows the pools.
        """
        if not self._returned:
            waits = self.alive is None or not self.alive <= self._linked or not (self.alive or self.told)
            self._returned = not waits or self._clock() - self.started > RETURN_SECONDS
            if self._returned:
                self._linked.clear()
        return self._returned
