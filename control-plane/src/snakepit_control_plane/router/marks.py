"""How full something is, in marks that are announced: when one is reached, and when it is left behind. Pure."""

from __future__ import annotations

from dataclasses import dataclass

MARKS = (80, 100)
SLACK = 5
"""A mark stands until the share is so many points below it: a count that goes to and fro is one crossing."""


@dataclass
class Mark:
    """The highest percentage in MARKS that was reached and still stands; 0: none."""

    standing: int = 0

    def update(self, count: int, most: int) -> bool:
        """Is it another mark now?"""
        share = 100 * count / most if most > 0 else 100
        reached = max((mark for mark in MARKS if share >= mark or (mark <= self.standing and share > mark - SLACK)), default=0)
        changed, self.standing = reached != self.standing, reached
        return changed
