"""Two promises of a pool: whose a worker is (worker.exclusive), and how many calls of one caller run (call.maxConcurrentPerCaller)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.account import Run


class Limits:
    """`per_caller`: at each replica; 0: as many as they like."""

    def __init__(self, *, exclusive: bool = False, per_caller: int = 0) -> None:
        self._exclusive, self._per_caller = exclusive, per_caller
        self._owners: dict[str, str] = {}
        self._of_links: dict[str, list[Run]] = defaultdict(list)

    def begun(self, run: Run) -> str:
        """What is wrong about it, in words, or nothing."""
        return self._of_another(run) or self._too_many(run)

    def _of_another(self, run: Run) -> str:
        owner = self._owners.setdefault(run.incarnation, run.uid or run.token)
        wrong = self._exclusive and owner != (run.uid or run.token)
        return f"{run.token} begins on {run.incarnation}, which has served {owner} and is exclusive" if wrong else ""

    def _too_many(self, run: Run) -> str:
        """By the life of the link that calls came by. What has been answered may run on where its agent can't be reached."""
        link = run.attempt.way.partition(" beside")[0]
        if not link or not self._per_caller or run.attempt.key:
            return ""
        self._of_links[link] = now = [each for each in [*self._of_links[link], run] if not (each.ended or each.attempt.ended)]
        return f"{len(now)} calls of {link} run, {self._per_caller} may" if len(now) > self._per_caller else ""
