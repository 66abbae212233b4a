"""Who is hung up on where too many connections are one's, or strangers'. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

SHARE, LEAST = 0.5, 16
"""Of maxConnections, or of what is left of them; so many each may have at least."""

AGENTS_SHARE = 0.25
"""Of those that say they are an agent's or the operator's, and of whom nobody asks a proof: with SHARE it is not all."""


def share_of(most: int, share: float = SHARE) -> int:
    """What one may have of so many."""
    return max(LEAST, int(most * share))


def too_many(strangers: Mapping[str, str], most: int) -> list[str]:
    """Whom to hang up on so that `most` are left: the oldest of the addresses that have most. `strangers`: the address of each, the oldest
    first."""
    counts = Counter(strangers.values())
    if len(strangers) <= most:
        return []
    return beyond(strangers, _share(list(counts.values()), most))


def beyond(owners: Mapping[str, str], most: int) -> list[str]:
    """Whom to hang up on so that none has more than `most`: its oldest. `owners`: whose each is, the oldest first; empty: nobody's."""
    counts, gone = Counter(owners.values()), []
    for peer, owner in owners.items():
        if owner and counts[owner] > most:
            counts[owner] -= 1
            gone.append(peer)
    return gone


def _share(counts: Sequence[int], most: int) -> int:
    """So many each may have, if all may have `most`: what one doesn't need is others'."""
    left, rest = most, len(counts)
    for count in sorted(counts):
        if count > left // rest:
            return left // rest
        left, rest = left - count, rest - 1
    return max(counts)
